#!/usr/bin/env bash
# demo.sh LUA: runs examples/echo.lua with the interpreter LUA against the project's own server, over ws
# and over wss. `make demo` builds what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lua=$1
export LUA_CPATH="./build/?.so;;"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bash spec/support/pki.sh "$work"

# The server lives as long as this end of the pipe is open, so it cannot outlive us.
exec {lifeline}> >(exec build/luws-demo-server --until-stdin-closes --ready "$work/ready" \
  --cert "$work/server.pem" --key "$work/server.key")
server=$!
for _ in $(seq 100); do
  [ -e "$work/ready" ] && break
  sleep 0.05
done
ws=$(sed -n 's/^ws //p' "$work/ready")
wss=$(sed -n 's/^wss //p' "$work/ready")

status=0
run() {
  echo
  echo "\$ $lua examples/echo.lua $*"
  "$lua" examples/echo.lua "$@" || status=$?
}
run "ws://127.0.0.1:$ws/echo"
run "wss://localhost:$wss/echo" "$work/ca.pem"

exec {lifeline}>&-
wait "$server" || true
exit "$status"
