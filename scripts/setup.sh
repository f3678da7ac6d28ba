#!/usr/bin/env bash
# Installs what a verb of the Makefile needs and what is missing of it, saying so in a line each; says nothing when
# nothing is missing. It knows packages by what they provide, so it also checks systems that it can't install on.
#
#   scripts/setup.sh build     cargo, a C compiler, OpenSSL's headers
#   scripts/setup.sh demo      build, and Lua with a test certificate's tool
#   scripts/setup.sh test      demo, and both interpreters' spec tools, and the servers of spec/interop
#   scripts/setup.sh autobahn  build, and both interpreters, and the Autobahn suite
#   scripts/setup.sh bench     demo, LuaJIT, and what `make bench` compares with and runs by
#   scripts/setup.sh bench-ir  build, and Lua, and what `make bench-ir` counts by
#   scripts/setup.sh valgrind  demo, LuaJIT, and valgrind
#   scripts/setup.sh lint      build, and the linters
#
# Several can be given; without one it is test.
#
# On Debian and its like it uses apt-get, elsewhere it names what is missing and fails. Rust is never installed here:
# Debian's is too old, and where to put another is the user's choice.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly RUST_NEEDED=1.88 # rust-version in Cargo.toml

# Debian packages and, in the same order, what to call them elsewhere.
missing_packages=()
missing_names=()

# need PACKAGE NAME COMMAND...: PACKAGE provides NAME, which is there when COMMAND succeeds.
need() {
    local package=$1 name=$2
    shift 2
    [[ " ${missing_packages[*]-} " != *" $package "* ]] || return 0 # two groups may need the same
    if ! "$@" >/dev/null 2>&1; then
        missing_packages+=("$package")
        missing_names+=("$name")
    fi
}

need_program() { # need_program PACKAGE PROGRAM
    need "$1" "$2" command -v "$2"
}

fail() {
    echo "setup.sh: $*" >&2
    exit 1
}

check_cargo() {
    local version advice="get it from rustup.rs, or run 'rustup update' if you have that"
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || version=
    [[ -n $version ]] || fail "there is no cargo on the PATH; luws needs Rust $RUST_NEEDED or newer: $advice"
    if [[ $(printf '%s\n' "$RUST_NEEDED" "$version" | sort -V | head -n 1) != "$RUST_NEEDED" ]]; then
        fail "cargo is $version, but luws needs Rust $RUST_NEEDED or newer: $advice"
    fi
}

needs_build() {
    check_cargo
    need_program gcc cc
    need libc6-dev "the C library's headers" cc -E -include stdlib.h -x c /dev/null
    need_program make make
    need_program pkg-config pkg-config
    need libssl-dev "OpenSSL's headers" pkg-config --exists openssl
}

needs_demo() {
    needs_build
    need_program lua5.1 lua5.1
    need_program openssl openssl
}

needs_test() {
    needs_demo
    need_program luajit luajit
    need_program luarocks luarocks
    need_program lua-busted busted
    need lua-socket "LuaSocket for Lua 5.1" lua5.1 -e 'require "socket"'
    need lua-sec "LuaSec for Lua 5.1" lua5.1 -e 'require "ssl"'
    need lua-copas "copas" lua5.1 -e 'require "copas"'
    need lua-cqueues "cqueues for Lua 5.1" lua5.1 -e 'require "cqueues"'
    need lua-luv "luv for Lua 5.1" lua5.1 -e 'require "luv"'
    need liblua5.1-0-dev "Lua 5.1's library and headers" pkg-config --exists lua5.1
    need libluajit-5.1-dev "LuaJIT's library and headers" pkg-config --exists luajit
    need_program python3 python3
    need python3-venv "Python's venv" python3 -c 'import ensurepip, venv'
    need_program nodejs node
    need_program npm npm
    # Debian has it where only root's PATH looks.
    need nginx nginx env PATH="$PATH:/usr/sbin" nginx -v
}

needs_autobahn() {
    needs_build
    need_program lua5.1 lua5.1
    need_program luajit luajit
    need_program python3 python3
    need python3-venv "Python's venv" python3 -c 'import ensurepip, venv'
}

needs_bench() {
    needs_demo
    need_program luajit luajit
    need lua-socket "LuaSocket for Lua 5.1" lua5.1 -e 'require "socket"'
    need lua-sec "LuaSec for Lua 5.1" lua5.1 -e 'require "ssl"'
    need_program python3 python3
    need_program util-linux taskset
}

needs_bench-ir() {
    needs_build
    need_program lua5.1 lua5.1
    need_program python3 python3
    need_program valgrind valgrind
}

needs_valgrind() {
    needs_demo
    need_program luajit luajit
    need_program valgrind valgrind
}

needs_lint() {
    needs_build
    need_program lua-check luacheck
}

install_packages() {
    ((${#missing_packages[@]})) || return 0
    local as_root=()
    if ((EUID != 0)) && command -v sudo >/dev/null; then
        as_root=(sudo)
    fi
    if ! command -v apt-get >/dev/null || ((EUID != 0 && ${#as_root[@]} == 0)); then
        local names
        names=$(printf '%s, ' "${missing_names[@]}")
        fail "please install what is missing: ${names%, } (as Debian packages: ${missing_packages[*]})"
    fi
    local i
    for i in "${!missing_packages[@]}"; do
        echo "setup.sh: installing the package ${missing_packages[i]} (${missing_names[i]})"
    done
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing_packages[@]}" >/dev/null
    if [[ " ${missing_packages[*]} " == *" nginx "* ]]; then
        # Debian starts it, and does so again at each boot; the tests only want the program.
        "${as_root[@]}" sh -c 'service nginx stop; update-rc.d nginx disable' >/dev/null 2>&1 || true
    fi
}

# The servers of spec/interop, into build/interop. A stamp says what they were installed from.
install_interop() {
    local from=spec/interop to=build/interop wanted
    wanted=$(cat "$from"/{requirements.txt,package.json,package-lock.json,.npmrc} <(python3 --version) | cksum)
    if [[ -f $to/stamp && $(<"$to/stamp") == "$wanted" ]]; then
        return 0
    fi
    mkdir -p "$to"
    rm -rf "$to/stamp" "$to/venv" "$to/node_modules"
    echo "setup.sh: installing the Python packages of $from/requirements.txt into $to/venv"
    python3 -m venv "$to/venv"
    "$to/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$from/requirements.txt"
    echo "setup.sh: installing the npm packages of $from/package.json into $to/node_modules"
    cp "$from"/{package.json,package-lock.json,.npmrc} "$to/"
    (cd "$to" && npm ci --loglevel=error --ignore-scripts >/dev/null)
    echo "$wanted" >"$to/stamp"
}

# fmt and clippy come with Rust, not with Debian.
check_cargo_linters() {
    local component
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 && continue
        local package=${component/fmt/rustfmt}
        command -v rustup >/dev/null || fail "there is no 'cargo $component'; it comes with Rust from rustup.rs"
        echo "setup.sh: installing $package with rustup"
        rustup --quiet component add "$package"
    done
}

groups=("${@:-test}")
for group in "${groups[@]}"; do
    [[ $group =~ ^(build|demo|test|autobahn|bench|bench-ir|valgrind|lint)$ ]] ||
        fail "usage: scripts/setup.sh [build|demo|test|autobahn|bench|bench-ir|valgrind|lint]..."
    "needs_$group"
done
install_packages
for group in "${groups[@]}"; do
    case $group in
        test) install_interop ;;
        autobahn) spec/autobahn/setup.sh ;;
        lint) check_cargo_linters ;;
    esac
done
