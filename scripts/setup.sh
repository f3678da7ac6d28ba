#!/usr/bin/env bash
# Installs the missing requirements of a verb of the Makefile, with a line for each; says nothing when
# nothing is missing. It knows packages by what they provide, so it also checks systems that it can't install on.
#
#   scripts/setup.sh build     cargo, a C compiler, OpenSSL's headers
#   scripts/setup.sh demo      build, and Lua with a test certificate's tool
#   scripts/setup.sh test      demo, and the spec tools of each interpreter, and the peers of spec/interop
#   scripts/setup.sh server    build
#   scripts/setup.sh autobahn  build, and both interpreters, and the Autobahn suite
#   scripts/setup.sh bench     demo, LuaJIT, and what `make bench` compares with and runs by
#   scripts/setup.sh bridges   bench, and the bridges that `make bench-bridge` compares with
#   scripts/setup.sh bench-ir  build, and Lua, and what `make bench-ir` counts by
#   scripts/setup.sh valgrind  demo, LuaJIT, LuaSocket, LuaSec, Python and valgrind
#   scripts/setup.sh soak      demo, LuaJIT, LuaSocket and Python
#   scripts/setup.sh dist      demo, LuaJIT, Perl, which builds OpenSSL, and Python
#   scripts/setup.sh lint      build, and the linters
#
# Several can be given; without one it is test. With --check first, nothing is installed: it says what is missing, and
# the command that installs it, and fails. LUA names the interpreter of `demo` (lua5.1), LUAS those of `test`
# (lua5.1 luajit lua5.4).
#
# On Debian and its derivatives it uses apt-get; elsewhere it names what is missing and fails. Rust is never installed
# here: Debian's is too old, and where to put another is the user's choice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

readonly RUST_NEEDED=1.88 # rust-version in Cargo.toml
readonly DENY=0.20.2 # the version of cargo-deny that is installed if there is none; Rust 1.88 can build it
readonly GROUP="build|server|demo|test|autobahn|bench|bridges|bench-ir|valgrind|soak|dist|lint"
readonly LOCK_PATIENCE=300 # seconds that apt waits for another process

LUA=${LUA:-lua5.1}
LUAS=${LUAS:-lua5.1 luajit lua5.4}

# Debian packages and, in the same order, what to call them elsewhere.
missing_packages=()
missing_names=()
# Requirements that no Debian package provides; each is a sentence.
problems=()

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

# older VERSION NEEDED: whether it is.
older() {
    [[ $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) != "$2" ]]
}

check_rust() {
    local program version
    local get="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    # --version does not read Cargo.toml, at which an old cargo fails.
    for program in "${CARGO:-cargo}" rustc; do
        version=$("$program" --version 2>/dev/null | cut -d ' ' -f 2) || version=
        if [[ -z $version ]]; then
            problems+=("there is no $program on the PATH; luws needs Rust $RUST_NEEDED or newer; to install it: $get")
            return
        fi
        if older "${version%%-*}" "$RUST_NEEDED"; then
            local update=$get
            ! command -v rustup >/dev/null || update="rustup update"
            problems+=("$program is $version, but luws needs Rust $RUST_NEEDED or newer; to get it: $update")
            return
        fi
    done
}

# openssl-sys finds OpenSSL by these variables or by pkg-config; macOS has a TLS of its own.
has_openssl() {
    [[ -n ${OPENSSL_DIR-} || -n ${OPENSSL_LIB_DIR-} || $(uname) == Darwin ]] || pkg-config --exists openssl 2>/dev/null
}

needs_build() {
    check_rust
    need gcc "a C compiler" command -v "${CC:-cc}"
    need libc6-dev "the C library's headers" "${CC:-cc}" -E -include stdlib.h -x c /dev/null
    need_program make make
    if ! has_openssl; then
        need_program pkg-config pkg-config
        need libssl-dev "OpenSSL's headers" has_openssl
    fi
}

needs_server() {
    needs_build
}

needs_demo() {
    needs_build
    need_program "${LUA##*/}" "$LUA"
    need_program openssl openssl
}

# need_module LUA PACKAGE NAME MODULE: an interpreter that is still to be installed has no modules yet.
need_module() {
    need "$2" "$3 for $1" "$1" -e "require '$4'"
}

needs_test() {
    local lua
    needs_demo
    need_program lua-busted busted
    need_program luarocks luarocks
    for lua in $LUAS; do
        lua_version "$lua" >/dev/null # says so if there is no such Lua
        need_program "${lua##*/}" "$lua"
        need_module "$lua" lua-socket LuaSocket socket
        need_module "$lua" lua-sec LuaSec ssl
        need_module "$lua" lua-cqueues cqueues cqueues
        need_module "$lua" lua-luv luv luv
        need_module "$lua" lua-filesystem LuaFileSystem lfs
        need_module "$lua" lua-term lua-term term
        need_module "$lua" lua-system luasystem system
        need_module "$lua" lua-luaossl luaossl openssl.pkey
        case ${lua##*/} in
            luajit) need libluajit-5.1-dev "LuaJIT's library and headers" pkg-config --exists luajit ;;
            lua5.1) need liblua5.1-0-dev "Lua 5.1's library and headers" pkg-config --exists lua5.1 ;;
            lua5.*) need "lib${lua##*/}-dev" "Lua ${lua: -3}'s library and headers" pkg-config --exists "${lua##*/}" ;;
        esac
    done
    # Debian has it for 5.1 and 5.2, and it serves the others, too.
    for lua in $LUAS; do
        need lua-copas copas env LUA_PATH="/usr/share/lua/5.1/?.lua;;" "$lua" -e 'require "copas"'
    done
    need_program python3 python3
    # Debian has it where only root's PATH looks.
    need nginx nginx env PATH="$PATH:/usr/sbin" nginx -v
    need_program microsocks microsocks
    need_program tinyproxy tinyproxy
    need dante-server "Dante's SOCKS server" test -x /usr/sbin/danted
    need squid squid test -x /usr/sbin/squid
    need python3-venv "Python's venv" python3 -c 'import ensurepip, venv'
    need locales "the sources of locales" test -e /usr/share/i18n/locales/de_DE
    need_program nodejs node
    need_program npm npm
    need_program chromium chromium
    need_program tmux tmux
    need_program curl curl
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
    need_program lua5.1 lua5.1
    need_program luajit luajit
    need lua-socket "LuaSocket for Lua 5.1" lua5.1 -e 'require "socket"'
    need lua-sec "LuaSec for Lua 5.1" lua5.1 -e 'require "ssl"'
    need_program python3 python3
    need_program util-linux taskset
}

needs_bridges() {
    needs_bench
    need python3-venv "Python's venv" python3 -c 'import ensurepip, venv'
}

needs_bench-ir() {
    needs_build
    need_program lua5.1 lua5.1
    need_program python3 python3
    need_program valgrind valgrind
}

needs_valgrind() {
    needs_demo
    need_program lua5.1 lua5.1
    need_program luajit luajit
    need lua-socket "LuaSocket for Lua 5.1" lua5.1 -e 'require "socket"'
    need lua-sec "LuaSec for Lua 5.1" lua5.1 -e 'require "ssl"'
    need_program python3 python3
    need_program valgrind valgrind
}

needs_soak() {
    needs_demo
    need_program lua5.1 lua5.1
    need_program luajit luajit
    need lua-socket "LuaSocket for Lua 5.1" lua5.1 -e 'require "socket"'
    need_program python3 python3
}

needs_dist() {
    needs_demo
    [[ $LUA != lua5.1 ]] || need_program luajit luajit
    need perl "Perl with its modules" perl -MFindBin -MIPC::Cmd -e 1
    need_program python3 python3
}

needs_lint() {
    needs_build
    need_program lua-check luacheck
    need_program shellcheck shellcheck
}

# stop_if_missing: if anything is missing, says what, with the command to type, and ends.
stop_if_missing() {
    ((${#problems[@]} + ${#missing_packages[@]})) || return 0
    local problem names
    for problem in "${problems[@]}"; do
        echo "setup.sh: $problem" >&2
    done
    if ((${#missing_packages[@]})); then
        names=$(printf '%s, ' "${missing_names[@]}")
        if command -v apt-get >/dev/null; then
            echo "setup.sh: missing: ${names%, }; to install: $(install_command)" >&2
        else
            echo "setup.sh: missing: ${names%, }; please install them (Debian calls them: ${missing_packages[*]})" >&2
        fi
    fi
    exit 1
}

# install_command: what the user can type.
install_command() {
    local command="apt-get install -y --no-install-recommends ${missing_packages[*]}"
    if ((EUID == 0)); then
        echo "$command"
    elif command -v sudo >/dev/null; then
        echo "sudo $command"
    else
        echo "su -c '$command'"
    fi
}

# apt ARGUMENTS...: runs apt-get, and waits while another has its lock; `apt-get update` does not wait by itself.
apt() {
    local output wait=0 deadline=$((SECONDS + LOCK_PATIENCE))
    while ! output=$("${as_root[@]}" env LC_ALL=C DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o "DPkg::Lock::Timeout=$wait" "$@" 2>&1 </dev/null); do
        if [[ $output != *"Could not get lock"* ]] || ((SECONDS >= deadline)); then
            echo "$output" >&2
            return 1
        fi
        ((wait)) ||
            echo "setup.sh: another program is installing packages; waiting for it (at most $LOCK_PATIENCE s) ..."
        wait=$LOCK_PATIENCE
        sleep 1
    done
}

install_packages() {
    ((${#missing_packages[@]})) || return 0
    as_root=()
    if ((EUID != 0)) && command -v sudo >/dev/null; then
        as_root=(sudo)
    fi
    if ! command -v apt-get >/dev/null || ((EUID != 0 && ${#as_root[@]} == 0)); then
        stop_if_missing
    fi
    local i
    for i in "${!missing_packages[@]}"; do
        echo "setup.sh: installing the package ${missing_packages[i]} (${missing_names[i]})"
    done
    # It may still work without the newest lists.
    apt update || echo "setup.sh: apt-get update failed; trying to install all the same" >&2
    apt install -y --no-install-recommends "${missing_packages[@]}" ||
        fail "apt-get failed; to see for yourself: $(install_command)"
    if [[ " ${missing_packages[*]} " == *" nginx "* ]]; then
        # Debian starts it, and does so again at each boot; the tests only want the program.
        "${as_root[@]}" sh -c 'service nginx stop; update-rc.d nginx disable' >/dev/null 2>&1 || true
    fi
}

# make_venv REQUIREMENTS FOLDER: installs Python packages.
make_venv() {
    echo "setup.sh: installing the Python packages of $1 into $2"
    rm -rf "$2"
    python3 -m venv "$2"
    "$2/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1"
}

# The peers of spec/interop, into build/interop. A stamp says what they were installed from.
install_interop() {
    local from=spec/interop to=build/interop wanted
    wanted=$(cat "$from"/{requirements.txt,package.json,package-lock.json,.npmrc} <(python3 --version) | cksum)
    if [[ -f $to/stamp && $(<"$to/stamp") == "$wanted" ]]; then
        return 0
    fi
    mkdir -p "$to"
    rm -rf "$to/stamp" "$to/node_modules"
    make_venv "$from/requirements.txt" "$to/venv"
    echo "setup.sh: installing the npm packages of $from/package.json into $to/node_modules"
    cp "$from"/{package.json,package-lock.json,.npmrc} "$to/"
    (cd "$to" && npm ci --loglevel=error --ignore-scripts >/dev/null)
    echo "$wanted" >"$to/stamp"
}

# The other bridges, into build/bench/venv. A stamp in there says what they were installed from.
install_bridges() {
    local from=benches/bridge/requirements.txt to=build/bench/venv wanted
    wanted=$(cat "$from" <(python3 --version) | cksum)
    [[ ! -f $to/stamp || $(<"$to/stamp") != "$wanted" ]] || return 0
    make_venv "$from" "$to"
    echo "$wanted" >"$to/stamp"
}

# fmt and clippy come with Rust, not with Debian; cargo-deny comes from crates.io.
check_cargo_linters() {
    local component
    for component in fmt clippy; do
        "${CARGO:-cargo}" "$component" --version >/dev/null 2>&1 && continue
        local package=${component/fmt/rustfmt}
        command -v rustup >/dev/null || fail "there is no 'cargo $component'; it comes with Rust from rustup.rs"
        echo "setup.sh: installing $package with rustup"
        rustup --quiet component add "$package"
    done
    if ! "${CARGO:-cargo}" deny --version >/dev/null 2>&1; then
        echo "setup.sh: installing cargo-deny $DENY with cargo (a minute or two, this once)"
        "${CARGO:-cargo}" install --quiet --debug --locked --target-dir target/cargo-deny "cargo-deny@$DENY" ||
            fail "cargo-deny cannot be installed; to see for yourself: cargo install --locked cargo-deny@$DENY"
        rm -rf target/cargo-deny
    fi
}

only_check=no
if [[ ${1-} == --check ]]; then
    only_check=yes
    shift
fi
groups=("${@:-test}")
for group in "${groups[@]}"; do
    [[ $group =~ ^($GROUP)$ ]] || fail "usage: scripts/setup.sh [--check] [$GROUP]..."
    "needs_$group"
done
# Requirements that are never installed here are checked before time is spent on installing the rest.
if [[ $only_check == yes || ${#problems[@]} != 0 ]]; then
    stop_if_missing
    exit 0
fi
install_packages
for group in "${groups[@]}"; do
    case $group in
        test) install_interop ;;
        bridges) install_bridges ;;
        autobahn) spec/autobahn/setup.sh ;;
        lint) check_cargo_linters ;;
    esac
done
