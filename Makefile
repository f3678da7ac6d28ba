# luws: the verbs. `make` alone lists them.
#
#   LUA=lua5.3       the interpreter to build for (lua5.1 by default; its module serves LuaJIT, too)

LUA ?= lua5.1
CARGO ?= cargo
MODULE := build/luws.so
SERVER := build/luws-demo-server

# The interpreter's version, 5.1 for LuaJIT as well. To build for that, it need not be installed.
VERSION = $(or $(shell $(LUA) -e 'print((_VERSION:gsub("%a+ ", "")))' 2>/dev/null),$(if \
  $(filter lua5.1 luajit,$(LUA)),5.1,$(error there is no $(LUA) here, and so no telling what to build for)))

# Where `make install` puts the module and the stub.
LUA_CPATH_DIR ?= /usr/local/lib/lua/$(VERSION)
LUA_DIR ?= /usr/local/share/lua/$(VERSION)

.PHONY: help build demo test test-rust test-lua test-rockspec lint install clean setup-demo setup-test setup-lint server \
	autobahn autobahn-quick setup-autobahn bench bench-docs setup-bench bench-engine bench-ir \
	bench-ir-baseline setup-bench-ir fuzz fuzz-smoke torture valgrind setup-valgrind

help:
	@echo "make build      the loadable module, $(MODULE), for $(LUA)"
	@echo "make demo       a Lua program talks to a WebSocket server, over ws and wss"
	@echo "make test       every test: engine, module on lua5.1 and luajit, rockspec"
	@echo "make autobahn   the Autobahn suite, client and server, in full (make autobahn-quick: in two minutes)"
	@echo "make bench      how fast it is, beside other clients: in ten minutes, with QUICK=1 in two; ROWS='poll,send *'"
	@echo "                and LUAS=lua5.1 choose, LUWS=FOLDER and AGAINST=FOLDER name other builds"
	@echo "make bench-docs what the last full run of make bench has found, into docs/"
	@echo "make bench-engine  how fast the engine is by itself, in bytes per second; FILTER=mask chooses"
	@echo "make bench-ir   how many instructions each operation of the module needs, beside a baseline; ROWS='poll,send *'"
	@echo "                chooses (make bench-ir-baseline: what is counted now becomes the baseline)"
	@echo "make torture    a million finalisers that do anything, on lua5.1 and luajit, over ws and wss"
	@echo "make valgrind   the same with a few thousand, under valgrind"
	@echo "make fuzz       each fuzz target for FUZZ_SECONDS=60 (make fuzz-smoke: over its seeds only, as make test does)"
	@echo "make lint       formatting, clippy, luacheck, and who may depend on whom"
	@echo "make install    LUA_CPATH_DIR=... (luws.so)  LUA_DIR=... (the stub for plugins)"
	@echo "make clean      removes what was built"

build:
	$(CARGO) build --quiet --release --lib --features lua$(subst .,,$(VERSION))
	@mkdir -p build
	@cp target/release/libluws.so $(MODULE).part 2>/dev/null || cp target/release/libluws.dylib $(MODULE).part
	@mv $(MODULE).part $(MODULE)

server:
	$(CARGO) build --quiet --release --bin luws-demo-server --features demo-server
	@mkdir -p build
	@cp target/release/luws-demo-server $(SERVER).part
	@mv $(SERVER).part $(SERVER)

setup-demo setup-test setup-lint setup-autobahn setup-bench setup-bench-ir setup-valgrind: setup-%:
	@scripts/setup.sh $*

demo: setup-demo
	@echo "building the module and the demo server (the first time, this takes a minute or two) ..."
	@$(MAKE) --no-print-directory build server
	@scripts/demo.sh $(LUA)

test: setup-test
	@$(MAKE) --no-print-directory test-rust build server
	@$(MAKE) --no-print-directory test-lua test-rockspec

# The engine needs no Lua.
test-rust:
	$(CARGO) test --quiet

test-lua:
	scripts/busted.sh lua5.1 luajit

test-rockspec:
	scripts/try-rockspec.sh

autobahn: setup-autobahn
	@$(MAKE) --no-print-directory build server
	spec/autobahn/run.py client full
	spec/autobahn/run.py server full

autobahn-quick: setup-autobahn
	@$(MAKE) --no-print-directory build server
	spec/autobahn/run.py client quick
	spec/autobahn/run.py client core --lua luajit
	spec/autobahn/run.py server quick
	spec/autobahn/run.py client core --tls
	spec/autobahn/run.py server core --tls

# What the module is compared with is a crate of its own. With LUWS, some other build is measured.
bench: setup-bench
	@$(MAKE) --no-print-directory $(if $(LUWS),,build) server
	$(CARGO) build --quiet --release --locked --manifest-path benches/compare/Cargo.toml --target-dir target/compare
	@mkdir -p build/bench
	@cp target/compare/release/libfloor.so build/bench/floor.so
	@cp target/compare/release/luws-bench-client build/bench/
	@bash spec/support/pki.sh build/pki
	benches/compare/run.py

bench-docs:
	benches/compare/run.py --docs

bench-ir: setup-bench-ir
	@$(if $(LUWS),,$(MAKE) --no-print-directory build)
	benches/ir/run.py

bench-ir-baseline: setup-bench-ir
	@$(MAKE) --no-print-directory build
	benches/ir/run.py --baseline

# The parts of the engine, without Lua and without sockets.
bench-engine:
	$(CARGO) bench --quiet --bench engine -- $(FILTER)

torture: setup-test
	@$(MAKE) --no-print-directory build server
	scripts/torture.sh 1000000

valgrind: setup-valgrind
	@$(MAKE) --no-print-directory build server
	scripts/torture.sh 3000 valgrind --quiet --error-exitcode=9

# Without a sanitizer, for those need a nightly Rust; what unsafe code there is, is in other crates.
FUZZ_SECONDS ?= 60
fuzz:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "make fuzz needs cargo-fuzz: cargo install cargo-fuzz" >&2; exit 1; }
	$(CARGO) test --quiet --test engine write_corpus -- --ignored
	for target in $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs))); do \
	  $(CARGO) fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) || exit; \
	done

fuzz-smoke:
	$(CARGO) test --quiet --test engine fuzzing

lint: setup-lint
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path benches/compare/Cargo.toml
	$(CARGO) clippy --quiet --all-targets --features lua51,demo-server -- --deny warnings
	luacheck --quiet lua spec examples benches types
	$(CARGO) test --quiet --test dependencies

install: build
	install -d "$(LUA_CPATH_DIR)" "$(LUA_DIR)"
	install -m 755 $(MODULE) "$(LUA_CPATH_DIR)/luws.so"
	install -m 644 lua/L_MyPlugin_LuWS.lua "$(LUA_DIR)/L_MyPlugin_LuWS.lua"

clean:
	rm -rf build target fuzz/target
