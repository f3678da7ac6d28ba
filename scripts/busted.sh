#!/usr/bin/env bash
# busted.sh INTERPRETER...: runs the specs under each of the interpreters, in parallel. `make test` builds what they
# need.
#
# SPECS names what to run (spec): SPECS=spec/open_spec.lua runs one file.
#
# On a terminal a line shows their progress. Each ends with its total, and with what failed and what was skipped.
# Output of the specs and the module goes to build/specs/INTERPRETER.log, below the name of the test. What each test
# took, the longest first, is in build/specs/INTERPRETER.times: seconds, seconds of CPU, where it is, its name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

work=$(mktemp -d)
declare -A jobs=() names=() began=() # by interpreter: its process group, what to call it, the second it began
declare -a running=()

# shellcheck disable=SC2317 # called by the trap
# Nothing outlives this: each interpreter has a process group of its own, with the servers that its specs start.
clean_up() {
  local lua
  trap '' INT TERM HUP
  for lua in "${running[@]}"; do kill -TERM -- "-${jobs[$lua]}" 2>/dev/null || true; done
  for lua in "${running[@]}"; do
    for _ in {1..40}; do
      kill -0 -- "-${jobs[$lua]}" 2>/dev/null || break
      sleep 0.05
    done
    kill -KILL -- "-${jobs[$lua]}" 2>/dev/null || true
    wait "${jobs[$lua]}" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'clear_line; echo "interrupted" >&2; exit 130' INT
trap 'exit 143' TERM HUP

# prepare LUA: checks that the specs can run there.
prepare() {
  local lua=$1 version module
  command -v "$lua" >/dev/null || fail "there is no $lua here; to install it: sudo apt-get install ${lua##*/}"
  version=$(lua_version "$lua")
  module=$(module_of "$version")
  [[ -e $module ]] || fail "$module is not built; to build it: make build LUA=$lua"
  [[ -e build/luws-demo-server ]] || fail "build/luws-demo-server is not built; 'make test-lua' builds it"
  names[$lua]=${lua##*/}
  local part
  for part in busted:lua-busted lfs:lua-filesystem term:lua-term system:lua-system socket:lua-socket ssl:lua-sec; do
    in_environment "$version" "$lua" -e "require '${part%:*}'" >/dev/null 2>&1 ||
      fail "the specs need '${part%:*}' for Lua $version; to install it: sudo apt-get install ${part#*:}"
  done
}

# in_environment VERSION COMMAND...: runs COMMAND with the modules of that Lua. Ours comes from build/ and nowhere
# else. copas, of which Debian has no file for 5.3 and 5.4, is the same for all.
in_environment() {
  local version=$1 folder=build share=/usr/local/share/lua/$1 system=/usr/share/lua/$1
  [[ $version == 5.1 ]] || folder=build/$version
  shift
  env -u "LUA_PATH_${version/./_}" -u "LUA_CPATH_${version/./_}" \
    LUA_CPATH="./$folder/?.so;/usr/local/lib/lua/$version/?.so;/usr/lib/$(uname -m)-linux-gnu/lua/$version/?.so" \
    LUA_PATH="./?.lua;$share/?.lua;$share/?/init.lua;$system/?.lua;$system/?/init.lua;/usr/share/lua/5.1/?.lua" \
    "$@"
}

start() {
  local lua=$1 name=${names[$1]} version
  version=$(lua_version "$lua")
  mkdir -p "$work/$name"
  # A job that is started with job control has a process group of its own, which Ctrl-C does not reach: Lua would turn
  # it into an error in the spec.
  set -m
  # busted is a Lua program, so each interpreter can run it. Under nohup the programs that specs start would rightly
  # go on ignoring what is to end them.
  # shellcheck disable=SC2086
  LUWS_SPEC_LUA=$lua LUWS_SPEC_FOLDER=$work/$name in_environment "$version" \
    env --default-signal=HUP "$lua" "$(command -v busted)" --output=spec/support/report.lua ${SPECS:-spec} \
    </dev/null >"build/specs/$name.log" 2>&1 &
  set +m
  jobs[$lua]=$!
  began[$lua]=$SECONDS
  running+=("$lua")
}

clear_line() {
  [[ ! -t 1 ]] || printf '\r\033[K'
}

show_line() {
  [[ -t 1 ]] || return 0
  local lua line='' begun ended failed
  for lua in "${running[@]}"; do
    begun=0 ended=0 failed=0
    read -r begun ended failed 2>/dev/null <"$work/${names[$lua]}/progress" || true
    line+="${line:+; }${names[$lua]}: file ${begun:-0} of $count, ${ended:-0} tests"
    [[ ${failed:-0} == 0 ]] || line+=", $failed failed"
  done
  printf '\r\033[K%.*s' "$(($(tput cols 2>/dev/null || echo 80) - 1))" "$line"
}

# finish LUA STATUS: reports on an interpreter that has ended.
finish() {
  local lua=$1 ended=$2 name=${names[$1]} folder=$work/${names[$1]} total
  if [[ -e $folder/totals ]]; then
    total=$(<"$folder/totals")
  else
    total="ended with status $ended in the middle of $(grep '^== ' "build/specs/$name.log" | tail -n 1 | cut -c 4-)"
    [[ $ended != 0 ]] || ended=1
  fi
  clear_line
  echo "specs on $name: $total, in $((SECONDS - began[$lua])) s"
  [[ ! -e $folder/times ]] || sort -rn "$folder/times" >"build/specs/$name.times"
  [[ ! -e $folder/skipped ]] || sed 's/^/  skipped: /' "$folder/skipped"
  if [[ $ended != 0 ]]; then
    failed+=("$name")
    if [[ -e $folder/failures ]]; then cat "$folder/failures"; else tail -n 20 "build/specs/$name.log"; fi
    echo "  what was printed meanwhile: build/specs/$name.log"
  fi
}

(($#)) || fail "usage: scripts/busted.sh INTERPRETER..."
for path in ${SPECS:-}; do
  [[ -e $path ]] || fail "SPECS names $path, which is not there"
done
for lua in "$@"; do prepare "$lua"; done
mkdir -p build/specs
# shellcheck disable=SC2086
count=$(find ${SPECS:-spec} -name '*_spec.lua' | wc -l)
# Specs that run at the same time must not each make the certificates.
bash spec/support/pki.sh build/pki

failed=()
waiting=("$@")
# They wait for half of the time.
most=$(($(nproc 2>/dev/null || echo 2) * 3 / 2))
while ((${#waiting[@]} + ${#running[@]})); do
  while ((${#waiting[@]} && ${#running[@]} < most)); do
    start "${waiting[0]}"
    waiting=("${waiting[@]:1}")
  done
  show_line
  sleep 0.3
  still=()
  done_now=()
  for lua in "${running[@]}"; do
    if kill -0 "${jobs[$lua]}" 2>/dev/null; then still+=("$lua"); else done_now+=("$lua"); fi
  done
  running=("${still[@]}")
  for lua in "${done_now[@]}"; do
    code=0
    wait "${jobs[$lua]}" || code=$?
    kill -TERM -- "-${jobs[$lua]}" 2>/dev/null || true # processes it may have left
    finish "$lua" "$code"
  done
done
((${#failed[@]} == 0)) || fail "specs failed on ${failed[*]}, see above"
