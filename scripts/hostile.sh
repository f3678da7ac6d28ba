#!/usr/bin/env bash
# hostile.sh [PATTERN]: endures peers that mean harm over real sockets and asserts what that costs, on LUAS (lua5.1
# luajit) one after the other; PATTERN chooses among them by their names. `make hostile` builds what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

[[ -e build/luws.so ]] || fail "build/luws.so is not built; to build it: make build"
for lua in ${LUAS:=lua5.1 luajit}; do
  command -v "$lua" >/dev/null || fail "there is no $lua here; to install it: sudo apt-get install ${lua##*/}"
  [[ $(lua_version "$lua") == 5.1 ]] ||
    fail "LUAS can be lua5.1 and luajit, whose module is build/luws.so; $lua is neither"
done
bash spec/support/pki.sh build/pki
export LUAS LUA_CPATH="./build/?.so;;"
exec lua5.1 spec/hostile/run.lua "$@"
