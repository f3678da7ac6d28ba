#!/usr/bin/env bash
# try-rockspec.sh: `luarocks make` into a temporary tree, then `require` from there, by both names, and the command, on
# Lua 5.1 and LuaJIT, and on Lua 5.4 if that is here. It also packs a source rock and checks its contents. The
# repositories that luarocks knows are not used: the rock needs nothing from them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
trap 'exit 130' INT

# quietly COMMAND...: shows its output only if it fails.
quietly() {
  "$@" >"$tree/log" 2>&1 </dev/null || {
    cat "$tree/log" >&2
    exit 1
  }
}

# try VERSION LUA...: installs, and loads it with each.
try() {
  local version=$1 lua folder=$tree/$1
  shift
  quietly luarocks --lua-version "$version" --tree "$folder" make rockspec/luws-scm-1.rockspec
  cp "$folder/share/lua/$version/L_MyPlugin_LuWS.lua" "$folder/share/lua/$version/L_Renamed_LuWS.lua"
  for lua in "$@"; do
    (cd "$folder" && LUA_PATH="$folder/share/lua/$version/?.lua" LUA_CPATH="$folder/lib/lua/$version/?.so" "$lua" -e '
      local luws, plugin = require "luws", require "L_Renamed_LuWS"
      assert(type(luws.wsopen) == "function" and luws._VERSION > 20358)
      assert(plugin == L_Renamed_LuWS and plugin ~= luws and plugin._VERSION == luws._VERSION)')
    echo "rockspec: luarocks make, and require on $lua: ok"
  done
  [[ $("$folder/bin/luws" --version) == "luws "[0-9]*" (Lua $version)" ]]
  echo "rockspec: luws --version on $1: ok"
}

try 5.1 lua5.1 luajit
if command -v lua5.4 >/dev/null; then try 5.4 lua5.4; fi

quietly scripts/rock.sh
(cd "$tree" && quietly luarocks --lua-version 5.1 unpack "$OLDPWD/build/luws-scm-1.src.rock")
[[ -e $tree/luws-scm-1/luws/Cargo.toml ]]
echo "rockspec: luarocks pack: ok"
