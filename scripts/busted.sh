#!/usr/bin/env bash
# busted.sh INTERPRETER...: runs the specs under each of the interpreters, in parallel. `make test` builds what they
# need.
#
# Each interpreter has a few workers, which are processes of busted. All of them are given the same files, and each runs
# those that it is the first to come to (spec/support/report.lua). One that has grown large leaves the rest to another.
#
# SPECS names what to run (spec): SPECS=spec/open_spec.lua runs one file.
#
# On a terminal a line shows their progress. Each ends with its total, and with what failed and what was skipped.
# Output of the specs and the module goes to build/specs/INTERPRETER.WORKER.log, below the name of the test. What each
# test and each file took, the longest first, is in build/specs/INTERPRETER.times: seconds, seconds of CPU, where it is,
# its name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

work=$(mktemp -d)
declare -A names=() began=() status=() # by interpreter: what to call it, the second it began, how its workers ended
declare -A last=() over=()             # by interpreter: the number of its last worker, whether it gets no further one
declare -A jobs=()                     # by worker, which is INTERPRETER:NUMBER: its process group
declare -a unreported=() running=() files=()

# shellcheck disable=SC2317 # called by the trap
# Nothing outlives this: each worker has a process group of its own, with the servers that its specs start.
clean_up() {
  local worker
  trap '' INT TERM HUP
  for worker in "${running[@]}"; do kill -TERM -- "-${jobs[$worker]}" 2>/dev/null || true; done
  for worker in "${running[@]}"; do
    for _ in {1..40}; do
      kill -0 -- "-${jobs[$worker]}" 2>/dev/null || break
      sleep 0.05
    done
    kill -KILL -- "-${jobs[$worker]}" 2>/dev/null || true
    wait "${jobs[$worker]}" 2>/dev/null || true
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
  mkdir -p "$work/${lua##*/}/claims" build/specs
  rm -f "build/specs/${lua##*/}".*log
  local part
  for part in busted:lua-busted lfs:lua-filesystem term:lua-term system:lua-system socket:lua-socket ssl:lua-sec; do
    in_environment "$version" "$lua" -e "require '${part%:*}'" >/dev/null 2>&1 ||
      fail "the specs need '${part%:*}' for Lua $version; to install it: sudo apt-get install ${part#*:}"
  done
}

# in_environment VERSION COMMAND...: runs COMMAND with the modules of that Lua. Ours comes from build/ and nowhere
# else. copas, of which Debian has no file for 5.3 and 5.4, is the same for all. The system has one authority, so that
# specs do not depend on which there are; OpenSSL takes 50 ms for reading them all, at each new set of options.
in_environment() {
  local version=$1 folder=build share=/usr/local/share/lua/$1 system=/usr/share/lua/$1
  [[ $version == 5.1 ]] || folder=build/$version
  shift
  env -u "LUA_PATH_${version/./_}" -u "LUA_CPATH_${version/./_}" \
    LUA_CPATH="./$folder/?.so;/usr/local/lib/lua/$version/?.so;/usr/lib/$(uname -m)-linux-gnu/lua/$version/?.so" \
    SSL_CERT_FILE="$PWD/build/pki/system.pem" SSL_CERT_DIR=/none \
    LUA_PATH="./?.lua;$share/?.lua;$share/?/init.lua;$system/?.lua;$system/?/init.lua;/usr/share/lua/5.1/?.lua" \
    "$@"
}

# claimed LUA: how many files its workers have begun.
claimed() {
  find "$work/${names[$1]}/claims" -mindepth 1 | wc -l
}

# working LUA: how many of its workers run.
working() {
  local worker count=0
  for worker in "${running[@]}"; do [[ $worker != "$1":* ]] || ((count += 1)); done
  echo "$count"
}

# left LUA: how many files are left to begin for a further worker.
left() {
  if [[ -n ${over[$1]-} ]]; then echo 0; else echo $((${#files[@]} - $(claimed "$1"))); fi
}

# neediest: the interpreter that should have a further worker; fails if none should.
neediest() {
  local lua count found='' least=$most
  for lua in "${unreported[@]}"; do
    count=$(working "$lua")
    if ((count < least && count < $(left "$lua"))); then least=$count found=$lua; fi
  done
  echo "$found"
  [[ -n $found ]]
}

# start LUA: starts a worker.
start() {
  local lua=$1 number version folder
  number=$((${last[$lua]-0} + 1))
  last[$lua]=$number
  folder=$work/${names[$lua]}
  version=$(lua_version "$lua")
  mkdir -p "$folder/$number"
  # A job that is started with job control has a process group of its own, which Ctrl-C does not reach: Lua would turn
  # it into an error in the spec.
  set -m
  # busted is a Lua program, so each interpreter can run it. Under nohup, or in the background, the programs that specs
  # start would rightly go on ignoring what is to end them.
  LUWS_SPEC_LUA=$lua LUWS_SPEC_FOLDER=$folder/$number LUWS_SPEC_CLAIMS=$folder/claims in_environment "$version" \
    env --default-signal=HUP,INT "$lua" "$(command -v busted)" --output=spec/support/report.lua "${files[@]}" \
    </dev/null >"build/specs/${names[$lua]}.$number.log" 2>&1 &
  set +m
  jobs[$lua:$number]=$!
  began[$lua]=${began[$lua]-$SECONDS}
  running+=("$lua:$number")
}

clear_line() {
  [[ ! -t 1 ]] || printf '\r\033[K'
}

show_line() {
  [[ -t 1 ]] || return 0
  local lua line=''
  for lua in "${unreported[@]}"; do
    line+="${line:+; }${names[$lua]}: file $(claimed "$lua") of ${#files[@]}"
    line+=$(find "$work/${names[$lua]}" -name progress -exec cat {} + | awk '
      { ended += $1; failed += $2 } END { printf ", %d tests", ended; if (failed) printf ", %d failed", failed }')
  done
  printf '\r\033[K%.*s' "$(($(tput cols 2>/dev/null || echo 80) - 1))" "$line"
}

# finish WORKER STATUS: notes how a worker has ended, and says so if it did not get to its end. One that has died could
# do so again without end, and one that has not grown has left only what cannot be loaded.
finish() {
  local lua=${1%:*} number=${1##*:} code=$2 name=${names[${1%:*}]} folder
  folder=$work/$name/$number
  [[ -e $folder/totals && -e $folder/grown ]] || over[$lua]=1
  if [[ ! -e $folder/totals ]]; then
    [[ $code != 0 ]] || code=1
    local log=build/specs/$name.$number.log
    {
      echo "ended with status $2 in the middle of $(grep '^== ' "$log" | tail -n 1 | cut -c 4-)"
      tail -n 20 "$log"
    } >>"$folder/failures"
  fi
  [[ $code == 0 ]] || status[$lua]=$code
}

# report LUA: says how its specs have ended, once all of its workers have.
report() {
  local lua=$1 name=${names[$1]} folder=$work/${names[$1]}
  clear_line
  echo "specs on $name: $(find "$folder" -name totals -exec cat {} + | awk '
    { passed += $1; failed += $3; skipped += $5 }
    END { printf "%d passed, %d failed, %d skipped", passed, failed, skipped }'), in $((SECONDS - began[$lua])) s"
  find "$folder" -name times -exec cat {} + | sort -rn >"build/specs/$name.times"
  find "$folder" -name skipped -exec sed 's/^/  skipped: /' {} +
  if [[ ${status[$lua]:-0} != 0 ]]; then
    failed+=("$name")
    find "$folder" -name failures -exec cat {} +
    echo "  what was printed meanwhile: build/specs/$name.*.log"
  fi
}

(($#)) || fail "usage: scripts/busted.sh INTERPRETER..."
for path in ${SPECS:-}; do
  [[ -e $path ]] || fail "SPECS names $path, which is not there"
done
for lua in "$@"; do prepare "$lua"; done
# The largest first, so that those that are left at the end are short.
# shellcheck disable=SC2086
mapfile -t files < <(find ${SPECS:-spec} -name '*_spec.lua' -exec ls -S {} +)
((${#files[@]})) || fail "there are no specs in $SPECS"
# Specs that run at the same time must not each make the certificates.
bash spec/support/pki.sh build/pki

failed=()
unreported=("$@")
# They wait for a part of the time. With many more than there are processors, some turn while others have what they
# wait for still to do.
most=$(($(nproc 2>/dev/null || echo 2) + 1))
while ((${#unreported[@]})); do
  while ((${#running[@]} < most)) && next=$(neediest); do start "$next"; done
  show_line
  sleep 0.3
  still=()
  done_now=()
  for worker in "${running[@]}"; do
    if kill -0 "${jobs[$worker]}" 2>/dev/null; then still+=("$worker"); else done_now+=("$worker"); fi
  done
  running=("${still[@]}")
  for worker in "${done_now[@]}"; do
    code=0
    wait "${jobs[$worker]}" || code=$?
    kill -TERM -- "-${jobs[$worker]}" 2>/dev/null || true # processes it may have left
    finish "$worker" "$code"
  done
  still=()
  for lua in "${unreported[@]}"; do
    if (($(working "$lua") + $(left "$lua"))); then still+=("$lua"); else report "$lua"; fi
  done
  unreported=("${still[@]}")
done
((${#failed[@]} == 0)) || fail "specs failed on ${failed[*]}, see above"
