#!/usr/bin/env python3
"""Measures luws and other clients in turns, and reports missed targets. `make bench` builds what this needs.

usage: run.py              measures everything, in ten minutes; in the environment:

  QUICK=1              less of everything, in two minutes
  ROWS='poll,send *'   only rows with these names (patterns)
  LUAS=lua5.1          only these interpreters (lua5.1 and luajit)
  REPEAT=9             repetitions (5; 3 with QUICK)
  LUWS=FOLDER          the luws.so to measure (build)
  AGAINST=FOLDER       a luws.so to compare it with, as `before`
  ORIGINAL=FILE        the luws.lua of LuWS to compare it with, in the rows that it can do

The server runs on one processor, the clients on another. Each client is a process that lives for one measurement. All
clients of a row take turns, and their figures are compared turn by turn. The results go to build/bench: results.json,
table.md, chart.svg. --docs puts the table and the chart of the last full run into docs/ and measures nothing.

Exit status: 0 if the measurement succeeded, whatever the figures are; 1 with --check if a target was missed; 2
otherwise.
"""

import contextlib
import datetime
import fnmatch
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import machine
import report

HERE = pathlib.Path("benches/compare")
OUT = pathlib.Path("build/bench")
PKI = pathlib.Path("build/pki")
SERVER = "build/luws-demo-server"
NATIVE = OUT / "luws-bench-client"
LUAS = ["lua5.1", "luajit"]

START = 30          # seconds for the server to start listening
LONGEST = 60        # seconds for one measurement

KIB, MIB = 1024, 1024 * 1024


class Row:
    """Describes one measurement: an entry of the table below.

    `kind` is its name in client.lua, `count` the number of operations per repetition, and `others` are the clients
    without Lua or without luws. `measure` is the figure that is compared: processor time, or the median wall time.
    A target is `luws <= factor x client`, for the interpreters that it names.
    """

    def __init__(self, name, kind, count, others, targets, *, size=0, path="/echo", scheme="ws", measure="cpu",
                 original=True, options=()):
        self.name, self.kind, self.count, self.others = name, kind, count, others
        self.targets = [(lua, client, factor) for lua, client, factor in targets]
        self.size, self.path, self.scheme, self.measure, self.original = size, path, scheme, measure, original
        self.options = list(options)    # further options for client.lua


def both(client, factor, jit_factor=None):
    return [("lua5.1", client, factor), ("luajit", client, jit_factor or factor)]


def receive(name, size, count, targets, text="ascii", scheme="ws", fragment=None, others=("floor", "tungstenite"),
            **more):
    path = "/flood?size=%d&text=%s" % (size, text) + ("&fragment=%d" % fragment if fragment else "")
    return Row(name, "receive", count, others, targets, size=size, path=path, scheme=scheme, **more)


def send(name, size, count, targets, **more):
    return Row(name, "send", count, ("floor", "tungstenite"), targets, size=size, path="/drain?spin=1", **more)


ROWS = [
    receive("receive 16 B", 16, 2000000, both("floor", 1.5, 1.35)),
    receive("receive 128 B", 128, 1300000, []),
    receive("receive 1 KiB", KIB, 500000, both("floor", 1.3, 1.4)),
    receive("receive 16 KiB", 16 * KIB, 60000, []),
    receive("receive 64 KiB", 64 * KIB, 20000, both("floor", 1.5, 1.2) + both("tungstenite", 2, 1.5), original=False),
    receive("receive 1 MiB in fragments", MIB, 600, both("floor", 1.6, 1.1), fragment=64 * KIB, original=False),
    receive("receive 16 MiB in fragments", 16 * MIB, 32, both("floor", 0.6, 0.8) + both("tungstenite", 1),
            fragment=64 * KIB, original=False),
    receive("receive 1 KiB not ASCII", KIB, 350000, both("tungstenite", 0.35), text="unicode"),
    Row("poll", "poll", 1300000, ("floor", "tungstenite", "raw"), both("floor", 1.6)),
    send("send 16 B", 16, 170000, both("floor", 1.4) + both("tungstenite", 1.2)),
    send("send 16 B, coalesced", 16, 2000000, [], options=["coalesce=1"], original=False),
    send("send 1 KiB", KIB, 130000, both("floor", 1.4) + both("tungstenite", 1.2)),
    send("send 64 KiB", 64 * KIB, 20000, both("floor", 1.05) + both("tungstenite", 1), original=False),
    send("send 1 MiB", MIB, 1300, both("floor", 1.05) + both("tungstenite", 1), original=False),
    Row("echo 64 B", "echo", 40000, ("floor", "tungstenite", "raw"), both("raw", 1.1), size=64, path="/echo?spin=1",
        measure="p50"),
    receive("wss receive 1 KiB", KIB, 250000, [("lua5.1", "tungstenite", 1.7)], scheme="wss",
            others=("tungstenite", "openssl")),
    receive("wss receive 64 KiB", 64 * KIB, 7000, both("openssl", 1.1), scheme="wss",
            others=("tungstenite", "openssl"), original=False),
    Row("open ws", "open", 1000, ("floor",), both("floor", 1.35), measure="p50"),
    Row("open wss", "open", 250, ("steps",), [("lua5.1", "steps", 1)], scheme="wss", measure="p50", original=False),
    Row("reactor: nothing to do", "idle", 400000, ("select",), both("select", 1.3), original=False),
    Row("reactor: echo 64 B", "wait and echo", 20000, ("waiting",), both("waiting", 1.3), size=64, measure="p50",
        original=False),
    Row("reactor: open 100 at once", "open many", 2000, ("waiting",), both("waiting", 1.3), original=False),
]

# These clients run in each of the interpreters; the others run by themselves.
IN_LUA = ("luws", "before", "original", "floor", "steps", "select", "waiting")

# These are luws, too, in another loop than the reactor's.
OTHER_LOOPS = ("select", "waiting")

# LuWS is given a count this many times smaller, because it is so much slower.
ORIGINAL_SHARE = 20


def fail(message):
    print("run.py: " + message, file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def server(core):
    """Runs the project's own server; gives its ports by scheme. It ends with its standard input, however we end."""
    ready = OUT / "ready"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen(
        ["taskset", "-c", str(core), SERVER, "--until-stdin-closes", "--ready", str(ready), "--cert",
         str(PKI / "server.pem"), "--key", str(PKI / "server.key")], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + START
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                fail("the server does not start")
            time.sleep(0.01)
        yield dict(line.split() for line in ready.read_text().splitlines())
    finally:
        process.stdin.close()
        process.wait(START)


class Bench:
    def __init__(self, environment):
        self.quick = environment.get("QUICK", "") not in ("", "0")
        self.repeat = int(environment.get("REPEAT", 3 if self.quick else 5))
        self.luas = environment.get("LUAS", ",".join(LUAS)).replace(",", " ").split()
        patterns = [pattern.strip() for pattern in environment.get("ROWS", "*").split(",")]
        self.rows = [row for row in ROWS if any(fnmatch.fnmatchcase(row.name, p) for p in patterns)]
        if not self.rows:
            fail("no such row; there are: " + ", ".join(row.name for row in ROWS))
        others = [name for name in ("LUWS", "AGAINST", "ORIGINAL") if environment.get(name)]
        self.complete = not self.quick and self.rows == ROWS and self.luas == LUAS and not others
        self.modules = {"luws": environment.get("LUWS", "build") + "/?.so", "floor": str(OUT / "?.so")}
        self.scripts = {}
        if environment.get("AGAINST"):
            self.modules["before"] = environment["AGAINST"] + "/?.so"
        if environment.get("ORIGINAL"):
            self.scripts["original"] = str(pathlib.Path(environment["ORIGINAL"]).parent / "?.lua")
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            fail("this needs two processors: one for the server, one for the clients")
        self.client_core, self.server_core = cores[0], cores[1]

    def contestants(self, row):
        """Returns pairs of client and interpreter (or None) in the order of their turns."""
        names = [name for name in ("luws", "before", "original") if name == "luws" or name in self.modules
                 or (name in self.scripts and row.original)] + list(row.others)
        return [(name, lua) for name in names for lua in (self.luas if name in IN_LUA else [None])]

    def command(self, row, client, lua, ports):
        count = row.count // (4 if self.quick else 1)
        if client == "original":
            count //= ORIGINAL_SHARE
        count = max(count, 4)
        warmup = max(count // 10, 1)
        host = "localhost" if row.scheme == "wss" else "127.0.0.1"
        url = "%s://%s:%s%s" % (row.scheme, host, ports[row.scheme], row.path)
        if row.kind == "receive":
            url += "&count=%d" % (2 * (count + warmup)) # so that no client sees the end
        options = ["count=%d" % count, "warmup=%d" % warmup, "size=%d" % row.size, "tools=%s" % OUT,
                   "ca=%s" % (PKI / "ca.pem")]
        if row.size > 65535:
            options.append("limit=%d" % row.size)
        if client == "luws":
            options += row.options
        if lua is None:
            return [str(NATIVE), client, row.kind, url] + options
        module = client if client in ("floor", "steps") + OTHER_LOOPS else "luws"
        return [lua, str(HERE / "client.lua"), module, row.kind, url] + options

    def measure(self, row, client, lua, ports):
        environment = dict(os.environ)
        module = "luws" if client in OTHER_LOOPS else client
        environment["LUA_CPATH"] = self.modules.get(module, "") + ";;"
        environment["LUA_PATH"] = self.scripts.get(client, "") + ";;"
        command = ["taskset", "-c", str(self.client_core)] + self.command(row, client, lua, ports)
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST)
        found = re.findall(r"(\w+)=([-+.e\d]+)", run.stdout.splitlines()[-1]) if run.stdout else []
        if run.returncode or not found:
            raise RuntimeError("%s:\n%s%s" % (" ".join(command), run.stdout, run.stderr))
        return {name: float(value) for name, value in found}

    def run(self, ports):
        rows = []
        for row in self.rows:
            contestants = self.contestants(row)
            results = [{"client": client, "lua": lua, "repetitions": []} for client, lua in contestants]
            for turn in range(self.repeat):
                if sys.stderr.isatty():
                    print("\r\033[K%s: %d/%d" % (row.name, turn + 1, self.repeat), end="", file=sys.stderr)
                for result in results:
                    result["repetitions"].append(self.measure(row, result["client"], result["lua"], ports))
            rows.append({"name": row.name, "measure": row.measure, "results": results, "targets":
                         [{"lua": lua, "client": client, "factor": factor} for lua, client, factor in row.targets
                          if lua in self.luas]})
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        return rows


def main():
    if sys.argv[1:] == ["--docs"]:
        report.publish(OUT)
        return
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        fail("usage: run.py [--docs|--check]; its first lines list the settings")
    for needed in (SERVER, NATIVE, OUT / "floor.so", PKI / "server.pem"):
        if not pathlib.Path(needed).exists():
            fail("there is no %s: `make bench` builds it" % needed)
    bench = Bench(os.environ)
    settings = ["%s=%s" % (name, shlex.quote(os.environ[name])) for name in ("QUICK", "ROWS", "LUAS", "REPEAT")
                if os.environ.get(name)]
    results = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
               "command": " ".join(settings + ["make bench"]), "complete": bench.complete, "machine": machine.machine()}
    started = time.monotonic()
    try:
        with server(bench.server_core) as ports:
            results["rows"] = bench.run(ports)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        fail(str(error))
    results["seconds"] = round(time.monotonic() - started)
    (OUT / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = report.table(results)
    (OUT / "table.md").write_text(table)
    (OUT / "chart.svg").write_text(report.chart(results))
    print(table)
    missed = report.missed(results)
    print("%d targets missed. It took %d seconds; %s has results.json, table.md, chart.svg."
          % (len(missed), results["seconds"], OUT))
    if check and missed:
        sys.exit(1)


main()
