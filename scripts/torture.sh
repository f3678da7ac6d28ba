#!/usr/bin/env bash
# torture.sh COUNT [WRAPPER...]: runs spec/torture until COUNT finalisers have run, on lua5.1 and luajit, over ws and
# wss, each interpreter started by WRAPPER (valgrind). `make torture` and `make valgrind` build what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
count=$1
shift
source scripts/demo-server.sh

status=0
for lua in lua5.1 luajit; do
  for base in "ws://127.0.0.1:$ws" "wss://localhost:$wss"; do
    for size in 16 5000; do
      url="$base/flood?size=$size&count=5000"
      echo "$lua, $url:"
      "$@" "$lua" spec/torture/torture.lua "$url" 1 "$count" || status=1
    done
  done
done
stop_server
exit "$status"
