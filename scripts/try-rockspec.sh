#!/usr/bin/env bash
# try-rockspec.sh: `luarocks make` into a temporary tree, then `require` from there, by both names. The
# repositories that luarocks knows are not asked: the rock needs nothing of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

luarocks --lua-version 5.1 --tree "$tree" make rockspec/luws-scm-1.rockspec > "$tree/log" 2>&1 || {
  cat "$tree/log" >&2
  exit 1
}
cp "$tree/share/lua/5.1/L_MyPlugin_LuWS.lua" "$tree/share/lua/5.1/L_Renamed_LuWS.lua"
for lua in lua5.1 luajit; do
  (cd "$tree" && LUA_PATH="$tree/share/lua/5.1/?.lua" LUA_CPATH="$tree/lib/lua/5.1/?.so" "$lua" -e '
    local luws, plugin = require "luws", require "L_Renamed_LuWS"
    assert(type(luws.wsopen) == "function" and luws._VERSION > 20358)
    assert(plugin == L_Renamed_LuWS and plugin ~= luws and plugin._VERSION == luws._VERSION)')
done
echo "rockspec: luarocks make, and require on lua5.1 and luajit: ok"
