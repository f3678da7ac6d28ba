#!/usr/bin/env bash
# Builds what the Makefile's verbs need, into build/. On a terminal it says what it does, and cargo shows its
# progress; in a pipe both are silent except for warnings and errors. Cargo's own settings apply (CARGO_TARGET_DIR,
# .cargo/config.toml).
#
#   scripts/build.sh module VERSION    the module for that version of Lua (5.1 to 5.5; 5.1 also serves LuaJIT)
#   scripts/build.sh vendored VERSION  the same with OpenSSL in it, for dist.sh: build/dist/luws.so, and in
#                                      build/dist/sources the path of the compressed driver; TARGET may name a target
#   scripts/build.sh server            the demo server
#
# PROFILE names the profile of Cargo.toml to build with (release).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

quiet=()
[[ -t 2 ]] || quiet=(--quiet)

# build TO WHAT KIND ARGUMENTS...: builds WHAT with cargo, and puts the file of that KIND at TO.
build() {
  local to=$1 what=$2 kind=$3 from
  shift 3
  scripts/setup.sh --check build
  say "building $what (the first time this takes a minute or two) ..."
  # Cargo reports where the file is: its place depends on the settings, and its name on the system.
  messages=$("${CARGO:-cargo}" build "${quiet[@]}" --profile "${PROFILE:-release}" \
    --message-format=json-render-diagnostics "$@")
  from=$(sed -n "/\"reason\":\"compiler-artifact\"/{/\"kind\":\[[^]]*\"$kind\"/p;}" <<<"$messages" |
    grep -F '"name":"luws' | grep -o '"filenames":\[[^]]*\]' | tail -n 1 | grep -oE '"[^"]+(\.so|\.dylib|server)"' |
    head -n 1 | tr -d '"')
  [[ -n $from ]] || fail "cargo has not said where it has put $what"
  mkdir -p "$(dirname "$to")"
  # A program that has the old file loaded keeps it. An unchanged file stays, but gets a newer time than its sources.
  if cmp -s "$from" "$to"; then
    touch "$to"
  else
    cp "$from" "$to.part"
    mv "$to.part" "$to"
  fi
  say "built $to"
}

case ${1-} in
  module)
    version=${2:?usage: scripts/build.sh module VERSION}
    of="Lua $version"
    [[ $version != 5.1 ]] || of="Lua 5.1 and LuaJIT"
    build "$(module_of "$version")" "the module for $of" cdylib --lib --features "lua${version/./}"
    ;;
  vendored)
    version=${2:?usage: scripts/build.sh vendored VERSION}
    build build/dist/luws.so "the module with OpenSSL for Lua $version" cdylib --lib \
      --features "lua${version/./},vendored" ${TARGET:+--target "$TARGET"}
    sed -n 's/.*"out_dir":"\([^"]*\/build\/luws-[^"]*\)".*/\1\/sources/p' <<<"$messages" >build/dist/sources
    ;;
  server)
    build build/luws-demo-server "the demo server" bin --bin luws-demo-server --features demo-server
    ;;
  *) fail "usage: scripts/build.sh module VERSION | vendored VERSION | server" ;;
esac
