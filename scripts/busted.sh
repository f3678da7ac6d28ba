#!/usr/bin/env bash
# busted.sh INTERPRETER...: the specs under each of the interpreters. `make test` builds what they need.
# SPECS names what to run (spec): SPECS=spec/open_spec.lua runs one file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Lua 5.1's modules are LuaJIT's, too. Ours comes from build/ and nowhere else.
system=/usr/share/lua/5.1 libraries=/usr/lib/$(uname -m)-linux-gnu/lua/5.1 local=/usr/local
export LUA_CPATH="./build/?.so;$local/lib/lua/5.1/?.so;$libraries/?.so"
export LUA_PATH="./?.lua;$local/share/lua/5.1/?.lua;$local/share/lua/5.1/?/init.lua;$system/?.lua;$system/?/init.lua"

status=0
for lua in "$@"; do
  echo "specs on $lua:"
  # busted is a Lua program, so each interpreter can run it.
  # shellcheck disable=SC2086
  LUWS_SPEC_LUA=$lua "$lua" "$(command -v busted)" --output=plainTerminal ${SPECS:-spec} || status=1
done
exit "$status"
