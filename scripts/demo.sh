#!/usr/bin/env bash
# demo.sh LUA [FOLDER]: runs examples/echo.lua with the interpreter LUA against the project's own server, over ws
# and over wss, with the module in FOLDER or the one in build/. `make demo` builds what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lua=$1
source scripts/common.sh
source scripts/demo-server.sh
version=$(lua_version "$lua")
module=$(module_of "$version")
export LUA_CPATH="${2-"./${module%/luws.so}"}/?.so;;"

status=0
run() {
  echo
  echo "\$ $lua examples/echo.lua $*"
  "$lua" examples/echo.lua "$@" || status=$?
}
run "ws://127.0.0.1:$ws/echo"
run "wss://localhost:$wss/echo" "$ca"

stop_server
exit "$status"
