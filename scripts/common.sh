# To be sourced by the other scripts: their messages, and facts about each Lua.
# shellcheck shell=bash

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# say TEXT: prints progress on a terminal only.
say() {
  [[ ! -t 2 ]] || echo "$*" >&2
}

# lua_version LUA: 5.1 to 5.5; 5.1 for LuaJIT, whose modules are the same. Known interpreters need not be installed.
lua_version() {
  local version
  version=$("$1" -e 'print((_VERSION:gsub("%a+ ", "")))' 2>/dev/null) || case ${1##*/} in
    luajit) version=5.1 ;;
    lua5.[1-5] | lua5[1-5]) version=5.${1: -1} ;;
    *) fail "there is no $1 here; LUA can be lua5.1, luajit, lua5.2 to lua5.5, or the path of one" ;;
  esac
  [[ $version == 5.[1-5] ]] || fail "$1 is Lua $version; luws is for Lua 5.1 to 5.5 and LuaJIT"
  echo "$version"
}

# raise_descriptors: this shell and its programs may have as many descriptors as the system lets them, which `limit` is
# then.
raise_descriptors() {
  limit=$(ulimit -H -n)
  [[ $limit == unlimited ]] || ulimit -S -n "$limit"
}

# module_of VERSION: the path of the module for that version. The one for 5.1 also serves LuaJIT.
module_of() {
  if [[ $1 == 5.1 ]]; then echo build/luws.so; else echo "build/$1/luws.so"; fi
}
