#!/usr/bin/env bash
# bench-reactor.sh [COUNT]: measures the reactor with COUNT connections (10000) on lua5.1 and luajit, against the least
# that a server could do, on another core. `make bench-reactor` builds what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

count=${1-10000}
[[ $# -le 1 && $count =~ ^[1-9][0-9]*$ ]] || fail "usage: scripts/bench-reactor.sh [COUNT]"
[[ -e build/luws.so ]] || fail "build/luws.so is not built; to build it: make build"
[[ -e build/bench/luws-bench-load ]] || fail "build/bench/luws-bench-load is not built; 'make bench-reactor' builds it"
export LUA_CPATH="./build/?.so;;" LUA_PATH="./?.lua;;"

# The server has as many descriptors as the client, and both have some others.
raise_descriptors
[[ $limit == unlimited ]] || ((count + 200 <= limit)) ||
  fail "a process here can have $limit descriptors, which is too few for $count connections"

ours=() theirs=()
if command -v taskset >/dev/null && (($(nproc) > 1)); then
  ours=(taskset -c 0)
  theirs=(taskset -c 1)
fi

# It ends when its input does.
coproc server { exec "${theirs[@]}" build/bench/luws-bench-load floor; }
read -r port <&"${server[0]}" || fail "the server does not get ready"
for lua in lua5.1 luajit; do
  echo "$lua"
  "${ours[@]}" "$lua" benches/reactor/many.lua "ws://127.0.0.1:$port/" "$count" | sed 's/^/  /'
done
