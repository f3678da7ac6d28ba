#!/usr/bin/env bash
# run.sh [NAME]: tests of the scripts and the Makefile, or those with NAME in their name. Each is a function test_...,
# run in a shell of its own in the project's folder, with a folder for its files in $work.
#
# Where a program must be missing or old, PATH has a folder of links and stand-ins only. Nothing is built or installed.
# shellcheck disable=SC2317,SC2016 # the tests are called by their names; stand-ins expand their own variables
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
unset MAKEFLAGS MAKELEVEL MFLAGS CARGO

fail_test() {
  echo "    $*"
  exit 1
}

# expect TEXT PATTERN: the text has it (a pattern of the shell).
expect() {
  # shellcheck disable=SC2053
  [[ $1 == $2 ]] || fail_test "expected: $2"$'\n'"    but was:  $1"
}

# failing COMMAND...: what it says, if it fails.
failing() {
  local said
  ! said=$("$@" 2>&1) || fail_test "did not fail: $*"$'\n'"$said"
  echo "$said"
}

# only PROGRAM...: from now on the PATH has these and what every script needs, in $work/bin. `stand_in` makes programs.
only() {
  local program path
  mkdir -p "$work/bin"
  for program in bash env sh cat cut sed sort head tail grep printf dirname uname tr date mktemp rm mkdir sleep \
    find touch cmp cp mv chmod install make ln id nproc "$@"; do
    path=$(type -P "$program") || continue
    [[ -e $work/bin/$program ]] || ln -s "$path" "$work/bin/$program"
  done
  PATH=$work/bin
}

# stand_in PROGRAM: what it does comes from standard input.
stand_in() {
  mkdir -p "$work/bin"
  rm -f "$work/bin/$1"
  { echo "#!$(type -P bash)" && cat; } >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}

old_rust() {
  stand_in cargo <<<'[[ $1 != --version ]] || { echo "cargo 1.63.0 (fd9c4297c 2022-07-01)"; exit; }
    echo "error: feature edition2024 is required"; exit 101'
  stand_in rustc <<<'echo "rustc 1.63.0 (4b91a6ea7 2022-08-08)"'
}

new_rust() {
  stand_in cargo <<<'echo "cargo 1.95.0 (f2d3ce0bd 2026-03-21)"'
  stand_in rustc <<<'echo "rustc 1.95.0-nightly (f2d3ce0bd 2026-03-21)"'
}

test_build_says_that_cargo_is_missing() {
  only gcc cc pkg-config
  local said
  said=$(failing make build)
  expect "$said" "*there is no cargo on the PATH; luws needs Rust 1.88 or newer; to install it: curl *"
}

test_build_says_that_cargo_is_too_old() {
  old_rust
  only gcc cc pkg-config
  local said
  said=$(failing make build)
  expect "$said" "*cargo is 1.63.0, but luws needs Rust 1.88 or newer; to get it: curl *"
  [[ $said != *edition2024* ]] || fail_test "it got as far as Cargo.toml"
  stand_in rustup </dev/null
  expect "$(failing make build)" "*to get it: rustup update*"
}

test_build_says_that_the_compiler_and_the_headers_are_missing_and_installs_nothing() {
  new_rust
  stand_in apt-get <<<'echo called >"'"$work"'/called"'
  only
  local said
  said=$(failing make build)
  expect "$said" "*missing: a C compiler, the C library's headers, pkg-config, OpenSSL's headers; to install: *"
  expect "$said" "*apt-get install -y --no-install-recommends gcc libc6-dev pkg-config libssl-dev*"
  [[ ! -e $work/called ]] || fail_test "apt-get was called"
}

test_where_there_is_no_apt_the_names_are_told() {
  new_rust
  only
  expect "$(failing make build)" "*missing: a C compiler, *; please install them (Debian calls them: gcc *"
}

test_an_interpreter_and_what_the_specs_need_for_it_are_missing_together() {
  new_rust
  only gcc cc
  local said package
  said=$(failing scripts/setup.sh --check test)
  for package in lua5.1 luajit lua5.4 lua-socket lua-sec lua-cqueues lua-luv lua-filesystem lua-term lua-system \
    lua-luaossl lua-copas; do
    expect "$said " "*[ :]${package}[ )]*"
  done
}

test_specs_that_are_not_there_are_named() {
  expect "$(failing env SPECS="spec/open_spec.lua spec/nope_spec.lua" scripts/busted.sh lua5.1)" \
    "busted.sh: SPECS names spec/nope_spec.lua, which is not there"
}

test_openssl_may_be_named_by_a_variable() {
  new_rust
  only gcc cc
  OPENSSL_DIR=/opt/ssl scripts/setup.sh --check build || fail_test "it did not do"
}

test_setup_waits_for_the_lock_of_apt() {
  new_rust
  stand_in apt-get <<<'echo "$*" >>"'"$work"'/calls"
    [[ $* == *update* || -e "'"$work"'/again" ]] && exit 0
    touch "'"$work"'/again"
    echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1 (apt-get)"
    exit 100'
  stand_in sudo <<<'"$@"'
  only
  local said
  said=$(scripts/setup.sh build 2>&1)
  expect "$said" "*installing the package gcc (a C compiler)*"
  expect "$said" "*another program is installing packages; waiting for it (at most 300 s)*"
  expect "$(<"$work/calls")" "*-o DPkg::Lock::Timeout=300 install -y --no-install-recommends gcc *"
}

test_setup_shows_why_apt_failed_and_the_command() {
  new_rust
  stand_in apt-get <<<'echo "E: Unable to locate package"; exit 100'
  stand_in sudo <<<'"$@"'
  only
  local said
  said=$(failing scripts/setup.sh build)
  expect "$said" "*E: Unable to locate package*"
  expect "$said" "*apt-get failed; to see for yourself: *apt-get install -y --no-install-recommends gcc *"
}

# with_deny INSTALL: a cargo with fmt and clippy, and with cargo-deny once the command INSTALL has made $work/deny.
with_deny() {
  new_rust
  stand_in cargo <<<'case $* in
      deny*) [[ -e "'"$work"'/deny" ]] ;;
      install*) echo "$*" >>"'"$work"'/calls"; '"$1"' ;;
      *) echo "cargo 1.95.0" ;;
    esac'
  stand_in luacheck </dev/null
  stand_in shellcheck </dev/null
  only gcc cc pkg-config
  export OPENSSL_DIR=/opt/ssl
}

test_setup_installs_cargo_deny_once_and_says_so() {
  with_deny 'touch "'"$work"'/deny"'
  expect "$(scripts/setup.sh lint 2>&1)" "setup.sh: installing cargo-deny 0.* with cargo (a minute or two, this once)"
  expect "$(scripts/setup.sh lint 2>&1)" ""
  expect "$(<"$work/calls")" "install --quiet --debug --locked --target-dir target/cargo-deny cargo-deny@0.*"
}

test_setup_says_how_to_install_cargo_deny_if_it_cannot() {
  with_deny 'echo "error: no network" >&2; exit 101'
  local said
  said=$(failing scripts/setup.sh lint)
  expect "$said" "*error: no network*cannot be installed; to see for yourself: cargo install --locked cargo-deny@0.*"
}

test_install_of_what_is_built_needs_no_cargo_and_honours_destdir_and_prefix() {
  only lua5.1
  # A copy, whose module is newer than its sources, at a path with a space.
  local copy="$work/a copy"
  mkdir -p "$copy/build/5.4"
  cp -R Makefile Cargo.toml Cargo.lock build.rs bin scripts src lua "$copy"
  echo module >"$copy/build/luws.so"
  echo another >"$copy/build/5.4/luws.so"
  cd "$copy"
  make install DESTDIR="$work/the root" PREFIX=/usr >/dev/null
  expect "$(<"$work/the root/usr/lib/lua/5.1/luws.so")" module
  [[ -s "$work/the root/usr/share/lua/5.1/L_MyPlugin_LuWS.lua" ]] || fail_test "the stub is missing"
  [[ -x "$work/the root/usr/bin/luws" ]] || fail_test "the command is missing"
  expect "$(head -n 2 "$work/the root/usr/bin/luws")" "#!/*/lua5.1
package.cpath = \[==\[/usr/lib/lua/5.1/?.so;\]==\] .. package.cpath"
  make install LUA=lua5.4 LUA_CPATH_DIR="$work/c" LUA_DIR="$work/lua" BIN_DIR="$work/bin" >/dev/null
  expect "$(<"$work/c/luws.so")" another
  # What is older than a source is built, and that needs cargo.
  touch -d '1 hour ago' build/luws.so
  expect "$(failing make install DESTDIR="$work/root")" "*there is no cargo on the PATH*"
}

test_what_was_built_with_another_profile_is_built_again() {
  new_rust
  stand_in cargo <<<'[[ $1 != --version ]] || { echo "cargo 1.95.0"; exit; }
    while [[ $1 != --profile ]]; do shift; done
    echo "$2" | tee -a "'"$work"'/calls" >"'"$work"'/libluws.so"
    echo '\''{"reason":"compiler-artifact","target":{"kind":["cdylib"],"name":"luws"},"filenames":["'"$work"'/libluws.so"]}'\'''
  mkdir -p "$work/copy/build"
  cp -R Makefile Cargo.toml Cargo.lock build.rs scripts src lua "$work/copy"
  cd "$work/copy"
  export PATH=$work/bin:$PATH PROFILE=another # which is somebody else's
  echo "as it was" >build/luws.so
  local verb found=
  for verb in "" "" PROFILE=quick PROFILE=quick ""; do
    make build-modules LUAS=lua5.1 ${verb:+"$verb"} 2>&1
    found+=$(<build/luws.so),
  done
  expect "$found" "as it was,as it was,quick,quick,release,"
  expect "$(<"$work/calls")" $'quick\nrelease'
}

test_release_makes_the_tree_that_version() {
  mkdir -p "$work/copy/lua" "$work/copy/fuzz"
  cp -R scripts rockspec Cargo.toml Cargo.lock CHANGELOG.md SECURITY.md "$work/copy"
  cp lua/luws.lua "$work/copy/lua"
  cp fuzz/Cargo.lock "$work/copy/fuzz"
  cd "$work/copy"
  local said
  said=$(scripts/release.sh 7.8.9 2098-02-01)
  expect "$said" "This is luws 7.8.9 of 2098-02-01 (98032).*"
  expect "$(grep -m 1 ^version Cargo.toml)" 'version = "7.8.9"'
  expect "$(grep -A 1 '^name = "luws"' fuzz/Cargo.lock)" $'name = "luws"\nversion = "7.8.9"'
  expect "$(grep ^luws._VERSION lua/luws.lua)" "luws._VERSION = 98032"
  expect "$(grep -m 2 -A 1 '^## ' CHANGELOG.md)" $'## \\[Unreleased]\n\n## \\[7.8.9] - 2098-02-01'
  expect "$(<rockspec/luws-7.8.9-1.rockspec)" "*version = \"7.8.9-1\"*  tag = \"v7.8.9\",*"
  expect "$(failing scripts/release.sh 7.8.10 2098-02-02)" "release.sh: nothing is under Unreleased in CHANGELOG.md"
  sed -i 's/^## \[Unreleased\]/&\n\n- A change./' CHANGELOG.md
  expect "$(failing scripts/release.sh 7.8.9)" \
    "release.sh: luws._VERSION is 98032 already; it must never become smaller *"
  expect "$(failing scripts/release.sh 7.8.9 2098-02-02)" "release.sh: CHANGELOG.md has a version 7.8.9 already"
  expect "$(failing scripts/release.sh 7.8.10 2098-02-30)" "release.sh: 2098-02-30 is not a day such as *"
  expect "$(failing scripts/release.sh 7.8)" "release.sh: 7.8 is not a version such as *"
}

test_packages_have_the_licences_of_what_the_module_contains() {
  mkdir "$work/licences"
  scripts/dist/licences.py "$work/licences" "$(rustc -vV | sed -n 's/^host: //p')" lua51,vendored
  local found
  found=$(cd "$work/licences" && echo */*)
  expect "$found" "*OpenSSL/LICENSE.txt *url-*/LICENSE-MIT *zlib-rs-*/LICENSE*"
  expect "$(<"$work/licences/README")" "*zlib-rs-0.*: Zlib, https://*"
  [[ $found != *syn-* && $found != *proptest* ]] || fail_test "what is not in the module is there, too"
}

test_an_unknown_lua_is_told() {
  expect "$(failing make build LUA=lua5.9)" "*there is no lua5.9 here; LUA can be lua5.1, luajit, *"
}

test_build_finds_the_file_that_cargo_names() {
  stand_in cargo <<<'[[ $1 != --version ]] || { echo "cargo 1.95.0"; exit; }
    [[ $* == *"--features lua54"* ]] || exit 1
    echo "module for 5.4" >"'"$work"'/lib luws.so"
    echo '\''{"reason":"compiler-artifact","target":{"kind":["custom-build"],"name":"build-script-build"},"filenames":["/x"]}'\''
    echo '\''{"reason":"compiler-artifact","target":{"kind":["cdylib","rlib"],"crate_types":["cdylib","rlib"],"name":"luws"},"filenames":["'"$work"'/lib luws.so","/x/libluws.rlib"],"fresh":true}'\''
    echo '\''{"reason":"build-finished","success":true}'\'''
  stand_in rustc <<<'echo "rustc 1.95.0"'
  mkdir -p "$work/copy"
  cp -R Makefile scripts "$work/copy"
  cd "$work/copy"
  PATH=$work/bin:$PATH make build LUA=lua5.4 >/dev/null 2>&1
  expect "$(<build/5.4/luws.so)" "module for 5.4"
}

test_help_is_at_most_100_columns_wide() {
  local line
  while IFS= read -r line; do
    ((${#line} <= 100)) || fail_test "too wide: $line"
  done < <(make)
}

test_busted_says_what_is_not_built_or_installed() {
  mkdir -p "$work/copy"
  cp -R scripts "$work/copy"
  cd "$work/copy"
  expect "$(failing scripts/busted.sh lua5.1)" "*build/luws.so is not built; to build it: make build LUA=lua5.1"
  expect "$(failing scripts/busted.sh lua5.9)" "*there is no lua5.9 here; to install it: *"
}

test_hostile_says_what_is_not_built_and_which_interpreters_it_takes() {
  mkdir -p "$work/copy/build"
  cp -R scripts "$work/copy"
  cd "$work/copy"
  expect "$(failing scripts/hostile.sh)" "*build/luws.so is not built; to build it: make build"
  touch build/luws.so
  stand_in lua5.4 <<<'echo 5.4'
  PATH=$work/bin:$PATH
  expect "$(LUAS=lua5.4 failing scripts/hostile.sh)" "*LUAS can be lua5.1 and luajit,*; lua5.4 is neither"
  expect "$(LUAS=lua5.9 failing scripts/hostile.sh)" "*there is no lua5.9 here; to install it: *"
}

test_hostile_passes_on_the_pattern_and_the_interpreters() {
  mkdir -p "$work/copy/build" "$work/copy/spec/support"
  cp -R scripts "$work/copy"
  cd "$work/copy"
  touch build/luws.so
  echo exit >spec/support/pki.sh
  stand_in luajit <<<'echo 5.1'
  stand_in lua5.1 <<<'[[ $1 == -e ]] && echo 5.1 || echo "$LUAS: $*"'
  PATH=$work/bin:$PATH
  expect "$(LUAS=luajit scripts/hostile.sh 'a peer')" "luajit: spec/hostile/run.lua a peer"
  expect "$(scripts/hostile.sh)" "lua5.1 luajit: spec/hostile/run.lua"
}

# specs: a copy of the project with one spec, from standard input, and with a module and a server that nobody uses.
specs() {
  mkdir -p "$work/copy/spec/support" "$work/copy/build"
  cp -R scripts "$work/copy"
  cp spec/support/report.lua "$work/copy/spec/support"
  echo exit >"$work/copy/spec/support/pki.sh"
  touch "$work/copy/build/luws.so" "$work/copy/build/luws-demo-server"
  cat >"$work/copy/spec/one_spec.lua"
  cd "$work/copy"
  mkdir tmp
  export TMPDIR=$work/copy/tmp
}

test_busted_shows_totals_failures_and_what_was_skipped_but_no_noise() {
  specs <<'SPEC'
    it("passes", function() print "noise" end)
    it("is not for here", function() return pending "no such thing" end)
    it("fails", function() assert.equal(1, 2) end)
SPEC
  local said
  said=$(failing scripts/busted.sh lua5.1 luajit)
  expect "$said" "*specs on lua5.1: 1 passed, 1 failed, 1 skipped, in * s*specs on luajit: 1 passed, 1 failed*"
  expect "$said" "*skipped: spec/one_spec.lua:2: is not for here (no such thing)*"
  expect "$said" "*spec/one_spec.lua:3: fails*Expected objects to be equal*"
  [[ $said != *noise* ]] || fail_test "it shows the noise"
  grep -A 1 "one_spec.lua:1: passes" build/specs/lua5.1.1.log | grep -q noise || fail_test "the log has no noise"
}

test_busted_has_each_file_run_once_and_adds_up_what_its_workers_say() {
  specs <<<'it("passes", function() os.execute("echo one >>ran; sleep 0.3") end)'
  local number said
  for number in 2 3 4 5; do cp spec/one_spec.lua "spec/${number}_spec.lua"; done
  echo 'it("fails", function() error "so it does" end)' >>spec/3_spec.lua
  said=$(failing scripts/busted.sh lua5.1 luajit)
  expect "$(wc -l <ran)" 10
  expect "$said" "*specs on lua5.1: 5 passed, 1 failed, 0 skipped, in *spec/3_spec.lua:2: fails*so it does*"
  expect "$said" "*specs on luajit: 5 passed, 1 failed, 0 skipped, in *"
  expect "$(grep -c "the whole file" build/specs/lua5.1.times)" 5
  (($(grep -l passes build/specs/lua5.1.*.log | wc -l) > 1)) || fail_test "one worker has run all"
}

test_busted_has_others_go_on_for_workers_that_have_grown() {
  specs <<<'it("holds", function() debug.getregistry().held = ("x"):rep(40 * 1024 * 1024) end)'
  local number
  for number in 2 3 4 5; do cp spec/one_spec.lua "spec/${number}_spec.lua"; done
  expect "$(scripts/busted.sh lua5.1)" "*specs on lua5.1: 5 passed, 0 failed, 0 skipped, in *"
  expect "$(cat build/specs/lua5.1.*.log | grep -c "^== ")" 5
  expect "$(grep -c "^== " build/specs/lua5.1.1.log)" 1
}

test_busted_comes_to_an_end_where_a_file_cannot_be_loaded() {
  specs <<<'it("is not closed", function('
  echo 'it("passes", function() end)' >spec/two_spec.lua
  local said
  said=$(failing scripts/busted.sh lua5.1)
  expect "$said" "*specs on lua5.1: 1 passed, * failed, 0 skipped, in *spec/one_spec.lua*near '<eof>'*"
}

test_busted_says_where_an_interpreter_died() {
  specs <<<'it("dies", function() os.exit(3) end)'
  expect "$(failing scripts/busted.sh lua5.1)" "*ended with status 3 in the middle of spec/one_spec.lua:1: dies*"
}

test_ctrl_c_ends_the_specs_at_once_and_leaves_nothing() {
  specs <<'SPEC'
    it("waits", function()
      local name = os.tmpname()
      io.popen("echo $$ >" .. name .. "; exec sleep 1000", "w") -- a server
      os.execute("sleep 1000")
    end)
SPEC
  # A process group of its own, which gets the signal as from a terminal, even if these tests run in the background.
  set -m
  env --default-signal=INT scripts/busted.sh lua5.1 luajit >"$work/said" 2>&1 &
  local group=$! status=0 server servers
  set +m
  local patience=100
  until servers=$(cat tmp/*/*/*/tmp_1 2>/dev/null) && [[ $(wc -l <<<"$servers") == 2 && -n $servers ]]; do
    ((patience--)) || fail_test "it does not begin: $(<"$work/said")"
    sleep 0.1
  done
  sleep 0.2
  kill -INT -- "-$group"
  SECONDS=0
  wait "$group" || status=$?
  ((SECONDS < 5)) || fail_test "it took $SECONDS s"
  expect "$status" 130
  expect "$(<"$work/said")" "*interrupted*"
  for server in $servers; do
    ! kill -0 "$server" 2>/dev/null || fail_test "the process $server is left"
  done
  expect "$(ls tmp)" ""
}

# soak: a copy of the scripts with what soak.sh wants to be built; the interpreters print their arguments.
soak() {
  mkdir -p "$work/copy/build"
  cp -R scripts "$work/copy"
  cd "$work/copy"
  touch build/luws.so build/luws-demo-server
  local lua
  for lua in lua5.1 luajit; do stand_in "$lua" <<<'echo "$*"; [[ $* != *"${FAILING:-nothing}"* ]]'; done
  PATH=$work/bin:$PATH
}

test_soak_knows_a_short_form_and_nothing_else() {
  soak
  local said
  expect "$(failing scripts/soak.sh brief)" "soak.sh: usage: scripts/soak.sh ?short?"
  expect "$(failing scripts/soak.sh short more)" "soak.sh: usage: scripts/soak.sh ?short?"
  said=$(scripts/soak.sh)
  expect "$said" "*lua5.1, ws: spec/soak/churn.lua ws 10000*lua5.1, wss: spec/soak/churn.lua wss 2000*"
  expect "$said" "*luajit, ws: spec/soak/churn.lua ws 10000*luajit, ws: spec/soak/many.lua ws 300 deflate*"
  said=$(scripts/soak.sh short)
  expect "$said" "*lua5.1, ws: spec/soak/churn.lua ws 900*luajit, wss: spec/soak/many.lua wss 300*"
}

test_soak_says_what_is_not_built() {
  soak
  rm build/luws.so
  expect "$(failing scripts/soak.sh)" "*build/luws.so is not built; to build it: make build"
}

test_soak_goes_on_after_a_failure_and_fails() {
  soak
  expect "$(FAILING="churn.lua ws" failing scripts/soak.sh short)" \
    "*luajit, ws: spec/soak/many.lua ws *soak.sh: something *"
}

test_soak_makes_no_more_connections_than_there_can_be_descriptors() {
  soak
  ulimit -n 2000
  local said
  said=$(scripts/soak.sh)
  expect "$said" "*lua5.1, ws: no 10000 connections at once, because a process here can have 2000 descriptors*"
  expect "$said" "*lua5.1, ws: spec/soak/many.lua ws 1000*"
}

# memcheck: a copy of the scripts with what valgrind.sh wants to be built; valgrind prints the end of its command, and
# torture.sh its arguments.
memcheck() {
  mkdir -p "$work/copy/build" "$work/copy/spec/support"
  cp -R scripts "$work/copy"
  cd "$work/copy"
  touch build/luws.so build/luws-demo-server
  echo exit >spec/support/pki.sh
  stand_in valgrind <<<'echo "${*: -2}"; [[ $* != *"${FAILING:-nothing}"* && $* == *--error-exitcode=* ]]'
  echo 'echo "torture $*"' >scripts/torture.sh
  PATH=$work/bin:$PATH
}

test_valgrind_knows_a_short_form_and_nothing_else() {
  memcheck
  local program=spec/valgrind/everything.lua
  expect "$(failing scripts/valgrind.sh brief)" "valgrind.sh: usage: scripts/valgrind.sh ?short?"
  expect "$(failing scripts/valgrind.sh short more)" "valgrind.sh: usage: scripts/valgrind.sh ?short?"
  expect "$(scripts/valgrind.sh)" "*lua5.1 $program*luajit $program*torture 3000 valgrind *--error-exitcode=9"
  expect "$(scripts/valgrind.sh short)" "lua5.1:"$'\n'"lua5.1 $program"
}

test_valgrind_says_what_is_not_built() {
  memcheck
  rm build/luws-demo-server
  expect "$(failing scripts/valgrind.sh)" "*'make valgrind' builds it"
  rm build/luws.so
  expect "$(failing scripts/valgrind.sh)" "*build/luws.so is not built; to build it: make build"
}

test_valgrind_goes_on_after_a_failure_and_fails() {
  memcheck
  expect "$(FAILING="lua5.1 spec" failing scripts/valgrind.sh)" "*luajit spec/*torture *valgrind.sh: see above*"
}

failed=0
for name in $(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'); do
  [[ $name == *"${1-}"* ]] || continue
  work=$(mktemp -d)
  # Not in a condition, where errors would not end it.
  set +e
  said=$(set -euo pipefail; "$name" 2>&1)
  code=$?
  set -e
  if ((code)); then
    echo "failed: ${name#test_}"
    echo "$said"
    failed=1
  fi
  rm -rf "$work"
done
((failed)) || echo "scripts: everything passed"
exit "$failed"
