# luws: the verbs. `make` alone lists them.
#
#   LUA=lua5.4       the interpreter to build for (lua5.1 by default; its module serves LuaJIT, too)
#   PROFILE=quick    builds in seconds what is slow, for work on luws (release by default)

LUA ?= lua5.1
CARGO ?= cargo
# A profile of Cargo.toml. Not from the environment, where others use this name.
PROFILE = release
export CARGO PROFILE

# The version of LUA, 5.1 for LuaJIT as well. To build for a known one, it need not be installed.
VERSION = $(or $(shell . scripts/common.sh; lua_version "$(LUA)"),$(error what to build for is not known))
MODULE = $(shell . scripts/common.sh; module_of "$(VERSION)")
SERVER := build/luws-demo-server

# The interpreters that `make test` and `make test-lua` run the specs on.
LUAS ?= lua5.1 luajit lua5.4

# The port of `make server`, which the examples' default URL names.
PORT ?= 8080

# Where `make install` puts the module, the stub and the command.
PREFIX ?= /usr/local
BIN_DIR ?= $(PREFIX)/bin
LUA_CPATH_DIR ?= $(PREFIX)/lib/lua/$(VERSION)
LUA_DIR ?= $(PREFIX)/share/lua/$(VERSION)

# Cargo shows how far it is where someone watches.
QUIET := $(shell [ -t 2 ] || echo --quiet)

SHELL := bash

.PHONY: always help build demo test test-rust test-lua test-scripts test-rockspec rock dist release lint install \
	clean server build-server build-modules built autobahn autobahn-quick bench bench-docs bench-engine \
	build-bench bench-reactor bench-record bench-server bench-socketio bench-bridge bench-ir bench-ir-baseline fuzz \
	fuzz-smoke hostile torture valgrind soak faults

help:
	@echo "Use luws:"
	@echo "  make build              the module for LUA=lua5.1: build/luws.so, which serves LuaJIT, too;"
	@echo "                          with LUA=lua5.2 to lua5.5: build/5.2/luws.so and so on"
	@echo "  make demo               a Lua program talks to a WebSocket server, over ws and wss"
	@echo "  make server             a WebSocket server to try the examples with, on PORT=8080"
	@echo "  make install            for LUA, into PREFIX=/usr/local; LUA_CPATH_DIR=FOLDER is for luws.so,"
	@echo "                          LUA_DIR=FOLDER for the plugin stub, BIN_DIR=FOLDER for the command;"
	@echo "                          DESTDIR=FOLDER goes before them"
	@echo "  make dist               the module with OpenSSL in it, the command, the manual and the licences as"
	@echo "                          build/luws-*.tar.gz, for machines like this one; tries it there"
	@echo "  make rock               a source rock of what is committed, for luarocks install"
	@echo "  make clean              removes what was built"
	@echo
	@echo "Work on luws (with PROFILE=quick, what is to be built is slow, but there in seconds):"
	@echo "  make test               every test, with the specs on LUAS=\"lua5.1 luajit lua5.4\""
	@echo "  make test-lua           only the specs; LUAS=\"lua5.2 lua5.3\" and SPECS=FILE choose"
	@echo "  make lint               formatting, clippy, luacheck, shellcheck, who may depend on whom,"
	@echo "                          and the licences and sources of the crates"
	@echo "  make autobahn           the Autobahn suite, client and server, in full"
	@echo "  make autobahn-quick     ... in two minutes"
	@echo "  make hostile            peers that mean harm: what they cost in time and memory; PEER=closes and"
	@echo "                          LUAS=luajit choose"
	@echo "  make torture            a million finalisers that do anything, over ws and wss"
	@echo "  make valgrind           everything that luws does, and a few thousand finalisers, under valgrind;"
	@echo "                          SHORT=1 for the first on lua5.1 only"
	@echo "  make faults             networks that fail, over real sockets, at more places than in make test"
	@echo "  make soak               thousands of connections, a third of them failing: what is left of them,"
	@echo "                          and what memory each takes; SHORT=1 for less of it"
	@echo "  make release            makes the tree RELEASE=0.2.0: CONTRIBUTING.md has the other steps"
	@echo "  make fuzz               each fuzz target for FUZZ_SECONDS=60"
	@echo "  make fuzz-smoke         ... over its seeds only, as make test does"
	@echo
	@echo "Measure luws:"
	@echo "  make bench              how fast it is beside other clients, in ten minutes, then the four below;"
	@echo "                          QUICK=1 in five for all; ROWS='poll,send *' and LUAS=lua5.1 choose,"
	@echo "                          without the others; LUWS=FOLDER and AGAINST=FOLDER name other builds,"
	@echo "                          ORIGINAL=FILE the luws.lua of LuWS"
	@echo "  make bench-record       what recordings cost"
	@echo "  make bench-server       luws.server beside other servers, in three minutes; with QUICK=1 in one"
	@echo "  make bench-socketio     luws.socketio beside npm's and Python's, in a minute"
	@echo "  make bench-bridge       luws.bridge beside other bridges, in five minutes; with QUICK=1 in one;"
	@echo "                          WEBSOCKSY=FILE names the program of websocksy"
	@echo "  make bench-docs         what the last full run of make bench has found, into docs/"
	@echo "  make bench-reactor      what the reactor costs with COUNT=10000 connections"
	@echo "  make bench-engine       how fast the engine is by itself, in bytes/s; FILTER=mask chooses"
	@echo "  make bench-ir           counts the instructions of each operation, beside a baseline;"
	@echo "                          ROWS='poll,send *' chooses"
	@echo "  make bench-ir-baseline  what is counted now becomes the baseline"

build: build/profile
	@scripts/build.sh module "$(VERSION)"

# For other verbs: what is built and newer than its sources is not built again. So to install needs no cargo, and cargo,
# which keeps the library of one Lua only, does not rebuild it for one after the other.
SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src lua -type f) build/profile
build/luws.so build/5.2/luws.so build/5.3/luws.so build/5.4/luws.so build/5.5/luws.so: $(SOURCES)
	@scripts/build.sh module "$(or $(filter 5.%,$(notdir $(@D))),5.1)"

$(SERVER): $(SOURCES)
	@scripts/build.sh server

# What was built with another profile is built again, so that nobody measures or installs what is slow. What was built
# before this file was there is as old as the file, and so is up to date.
build/profile: always
	@[[ -e $@ ]] || { mkdir -p build; echo release >$@; touch -t 197001020000 $@; }
	@[[ $$(<$@) == "$(PROFILE)" ]] || echo "$(PROFILE)" >$@

build-server: $(SERVER)
	@:

.SECONDEXPANSION:
built: $$(MODULE) $(SERVER)
	@:

# The module for each of LUAS.
build-modules:
	@$(MAKE) --no-print-directory --silent $(shell . scripts/common.sh; \
	  for lua in $(LUAS); do module_of "$$(lua_version "$$lua")"; done | sort -u)

SETUPS := setup-demo setup-test setup-server setup-lint setup-autobahn setup-bench setup-bridges setup-bench-ir \
	setup-valgrind setup-soak setup-dist
.PHONY: $(SETUPS)
$(SETUPS): setup-%:
	@LUA="$(LUA)" LUAS="$(LUAS)" scripts/setup.sh $*

demo: setup-demo
	@$(MAKE) --no-print-directory built
	@scripts/demo.sh "$(LUA)"

server: setup-server
	@$(MAKE) --no-print-directory build-server
	@scripts/serve.sh "$(PORT)"

# An optimised build keeps one processor busy, so the engine is tested meanwhile: cargo keeps what is for tests apart.
test: setup-test
	@echo "test: building the module and the demo server (a minute or two each, if they are not built) ..."
	@$(MAKE) --no-print-directory build-modules build-server & building=$$!; \
	  $(MAKE) --no-print-directory test-rust; tested=$$?; wait $$building && exit $$tested
	@$(MAKE) --no-print-directory test-scripts
	@echo "test: the specs on $(LUAS) (five minutes)"
	@scripts/busted.sh $(LUAS)
	@$(MAKE) --no-print-directory test-rockspec
	@echo "test: everything passed"

# The engine needs no Lua.
test-rust:
	@echo "test: the engine, in Rust (a minute or two, most of it building)"
	@$(CARGO) test $(QUIET) --no-run
	@$(CARGO) test --quiet

test-lua: setup-test
	@$(MAKE) --no-print-directory build-modules build-server
	@scripts/busted.sh $(LUAS)

test-scripts:
	@echo "test: the scripts (half a minute)"
	@scripts/tests/run.sh

test-rockspec:
	@echo "test: the rockspec (half a minute)"
	@scripts/try-rockspec.sh

autobahn: setup-autobahn
	@$(MAKE) --no-print-directory built
	spec/autobahn/run.py client full
	spec/autobahn/run.py server full
	spec/autobahn/run.py lua-server full
	spec/autobahn/run.py lua-server full --lua luajit

autobahn-quick: setup-autobahn
	@$(MAKE) --no-print-directory built
	spec/autobahn/run.py client quick
	spec/autobahn/run.py client core --lua luajit
	spec/autobahn/run.py server quick
	spec/autobahn/run.py lua-server core
	spec/autobahn/run.py client core --tls
	spec/autobahn/run.py server core --tls

# What the module is compared with, and measured by, is a crate of its own.
build-bench:
	$(CARGO) build --quiet --release --locked --manifest-path benches/compare/Cargo.toml --target-dir target/compare
	@mkdir -p build/bench
	@cp target/compare/release/libfloor.so build/bench/floor.so
	@cp target/compare/release/luws-bench-client target/compare/release/luws-bench-load build/bench/

# With LUWS, some other build is measured.
bench: setup-bench
	@$(MAKE) --no-print-directory $(if $(LUWS),build-server,built) build-bench
	@bash spec/support/pki.sh build/pki
	benches/compare/run.py
	@$(if $(ROWS)$(LUWS),,$(MAKE) --no-print-directory bench-record bench-server bench-socketio bench-bridge)

bench-docs:
	benches/compare/run.py --docs

bench-reactor: setup-bench
	@$(MAKE) --no-print-directory built build-bench
	@scripts/bench-reactor.sh $(COUNT)

bench-record: setup-bench
	@$(MAKE) --no-print-directory built
	@for lua in lua5.1 luajit; do \
	  echo $$lua; LUA_CPATH="./build/?.so;;" $$lua benches/record/rows.lua $(COUNT) || exit 1; \
	done

# Node.js and Python come with what the tests need.
bench-socketio: setup-test
	@$(MAKE) --no-print-directory built
	benches/socketio/run.py $(COUNT)

bench-server: setup-test setup-bench
	@$(MAKE) --no-print-directory built build-bench
	benches/server/run.py

bench-bridge: setup-bridges
	@$(MAKE) --no-print-directory built build-bench
	benches/bridge/run.py

bench-ir: setup-bench-ir
	@$(if $(LUWS),,$(MAKE) --no-print-directory build)
	benches/ir/run.py

bench-ir-baseline: setup-bench-ir
	@$(MAKE) --no-print-directory build
	benches/ir/run.py --baseline

# The parts of the engine, without Lua and without sockets.
bench-engine:
	$(CARGO) bench --quiet --bench engine -- $(FILTER)

# Alone on a machine, because it asserts times.
hostile: setup-test
	@$(MAKE) --no-print-directory build/luws.so
	@scripts/hostile.sh $(if $(PEER),"$(PEER)")

torture: setup-test
	@$(MAKE) --no-print-directory built
	scripts/torture.sh 1000000

valgrind: setup-valgrind
	@$(MAKE) --no-print-directory LUA=lua5.1 built
	scripts/valgrind.sh $(if $(SHORT),short)

faults: setup-test
	@$(MAKE) --no-print-directory build-modules build-server
	LUWS_FAULTS=all SPECS="spec/faults spec/backpressure_spec.lua spec/allocator_spec.lua spec/interruptions_spec.lua \
	  spec/reconnect_interruptions_spec.lua" scripts/busted.sh $(LUAS)

soak: setup-soak
	@$(MAKE) --no-print-directory LUA=lua5.1 built
	scripts/soak.sh $(if $(SHORT),short)

# Without a sanitizer, for those need a nightly Rust. The targets do not contain src/lua/raw, the only unsafe code here.
FUZZ_SECONDS ?= 60
fuzz:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || \
	  { echo "make fuzz needs cargo-fuzz: cargo install cargo-fuzz" >&2; exit 1; }
	$(CARGO) test --quiet --test engine write_corpus -- --ignored
	for target in $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs))); do \
	  $(CARGO) fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) || exit; \
	done

fuzz-smoke:
	$(CARGO) test --quiet --test engine fuzzing

# rustfmt leaves comments and texts as wide as they are, and luacheck knows Lua only. Two files have data that cannot be
# broken.
WIDE := git grep -nE '^.{121}' -- '*.rs' '*.c' '*.py' '*.js' '*.sh' '*.toml' '*.yml' Makefile .ci \
	':!spec/autobahn/port_py3.py' ':!scripts/tests/run.sh'

lint: setup-lint
	! LC_ALL=C.UTF-8 $(WIDE)
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path benches/compare/Cargo.toml
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --quiet --no-deps
	$(CARGO) clippy --quiet --all-targets --features lua51,demo-server -- --deny warnings
	luacheck --quiet lua bin/luws spec examples benches types
	shellcheck --external-sources scripts/*.sh scripts/tests/*.sh .ci/run spec/*/*.sh
	$(CARGO) test --quiet --test dependencies
	$(CARGO) deny --locked --log-level error check bans licenses sources

install: $$(MODULE)
	install -d "$(DESTDIR)$(LUA_CPATH_DIR)" "$(DESTDIR)$(LUA_DIR)" "$(DESTDIR)$(BIN_DIR)"
	install -m 755 $(MODULE) "$(DESTDIR)$(LUA_CPATH_DIR)/luws.so"
	install -m 644 lua/L_MyPlugin_LuWS.lua "$(DESTDIR)$(LUA_DIR)/L_MyPlugin_LuWS.lua"
	scripts/install-command.sh "$(LUA)" "$(LUA_CPATH_DIR)" "$(DESTDIR)$(BIN_DIR)/luws"

rock:
	@scripts/rock.sh

# The usual module is there to be measured: it has no OpenSSL in it.
dist: setup-dist
	@$(MAKE) --no-print-directory built
	@scripts/dist.sh $(if $(filter lua5.1 luajit,$(LUA)),lua5.1 luajit,"$(LUA)")

release:
	@scripts/release.sh "$(RELEASE)"

clean:
	rm -rf build target fuzz/target
