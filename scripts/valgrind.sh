#!/usr/bin/env bash
# valgrind.sh [short]: has valgrind look for memory errors and for lost memory in what spec/valgrind does, which is
# everything, and for memory errors while a few thousand finalisers run (spec/torture), on lua5.1 and luajit; `short`
# does the first on lua5.1 only. `make valgrind` builds what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

case "$#:${1-}" in
  0:) luas=(lua5.1 luajit) ;;
  1:short) luas=(lua5.1) ;;
  *) fail "usage: scripts/valgrind.sh [short]" ;;
esac
[[ -e build/luws.so ]] || fail "build/luws.so is not built; to build it: make build"
[[ -e build/luws-demo-server ]] || fail "build/luws-demo-server is not built; 'make valgrind' builds it"
export LUA_CPATH="./build/?.so;;" LUA_PATH="./?.lua;;"

# The system's authorities are 140 certificates, which each connector that is not given others parses; valgrind would
# spend most of its time on that.
bash spec/support/pki.sh build/pki
export SSL_CERT_FILE=$PWD/build/pki/ca.pem SSL_CERT_DIR=$PWD/build/pki/trusted

memcheck=(valgrind --quiet --error-exitcode=9)
# What nothing points to any more was lost. What the libraries keep until the process ends is none of that.
lost=(--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite)

failed=0
for lua in "${luas[@]}"; do
  echo "$lua:"
  "${memcheck[@]}" "${lost[@]}" "$lua" spec/valgrind/everything.lua || failed=1
done
[[ ${1-} == short ]] || scripts/torture.sh 3000 "${memcheck[@]}" || failed=1
((failed == 0)) || fail "see above; built with CARGO_PROFILE_RELEASE_STRIP=false, functions have names"
