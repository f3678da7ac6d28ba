#!/usr/bin/env bash
# soak.sh [short]: runs spec/soak on lua5.1 and luajit: connections that come and go, a third of them failing, and many
# at once. Prints what remains of them, and what each takes. `make soak` builds what this needs; `short` does it with
# fewer connections, in less than a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

case "$#:${1-}" in
  0:) churn=(ws:10000 wss:2000) many=(ws:1000 ws:10000 wss:1000 wss:10000) compressed=300 ;;
  1:short) churn=(ws:900 wss:300) many=(ws:1000 wss:300) compressed=100 ;;
  *) fail "usage: scripts/soak.sh [short]" ;;
esac
[[ -e build/luws.so ]] || fail "build/luws.so is not built; to build it: make build"
[[ -e build/luws-demo-server ]] || fail "build/luws-demo-server is not built; 'make soak' builds it"
export LUA_CPATH="./build/?.so;;" LUA_PATH="./?.lua;;"

# The server has as many descriptors as the client, and both have some others.
others=200
raise_descriptors

failed=0
# run LUA PROGRAM SCHEME COUNT...
run() {
  printf '%s, %s: ' "$1" "$3"
  "$1" "spec/soak/$2.lua" "${@:3}" 2>&1 || failed=1
}

for lua in lua5.1 luajit; do
  for part in "${churn[@]}"; do run "$lua" churn "${part%:*}" "${part#*:}"; done
  for part in "${many[@]}"; do
    count=${part#*:}
    if [[ $limit != unlimited ]] && ((count + others > limit)); then
      echo "$lua, ${part%:*}: no $count connections at once, because a process here can have $limit descriptors"
    else
      run "$lua" many "${part%:*}" "$count"
    fi
  done
  for compression in deflate windows takeover; do run "$lua" many ws "$compressed" "$compression"; done
done
((failed == 0)) || fail "something was left or did not work, see above"
