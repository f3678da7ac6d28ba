#!/usr/bin/env bash
# serve.sh PORT: runs the demo server on that port until Ctrl-C. `make server` builds it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ended() {
  echo
  exit 0
}
ready=$(mktemp -u)
trap 'rm -f "$ready"' EXIT
build/luws-demo-server --port "$1" --ready "$ready" >/dev/null &
server=$!
trap 'kill "$server" 2>/dev/null; ended' INT TERM
until [[ -e $ready ]]; do
  kill -0 "$server" 2>/dev/null || { echo "serve.sh: PORT=NUMBER chooses another port" >&2; exit 1; }
  sleep 0.05
done
cat <<TEXT
The demo server is at ws://127.0.0.1:$1/echo. To try it, in another terminal:

  make build && LUA_CPATH='./build/?.so;;' lua5.1 examples/echo.lua ws://127.0.0.1:$1/echo

Its other paths: build/luws-demo-server --help. Ctrl-C stops it.
TEXT
wait "$server"
