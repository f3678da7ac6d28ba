#!/usr/bin/env bash
# serve.sh PORT: runs the demo server on that port until Ctrl-C. `make server` builds it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ended() {
  echo
  exit 0
}
trap ended INT

cat <<TEXT
The demo server is at ws://127.0.0.1:$1/echo. To try it, in another terminal:

  make build && LUA_CPATH='./build/?.so;;' lua5.1 examples/echo.lua ws://127.0.0.1:$1/echo

Its other paths: build/luws-demo-server --help. Ctrl-C stops it.
TEXT
build/luws-demo-server --port "$1" >/dev/null
