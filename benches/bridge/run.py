#!/usr/bin/env python3
"""Measures bridges to TCP: luws on Lua 5.1 and LuaJIT, websockify, websocat, and the least that a bridge could do.

usage: run.py        measures everything, in five minutes (`make bench-bridge`); in the environment:

  QUICK=1            less of everything
  WEBSOCKSY=FILE     websocksy as well, by its program

The bridge runs on one processor, and its client and its peer on another. All bridges take turns, and the median of the
turns is printed. Rates are those of the bridge's own time of the processor: what it could carry if it had one to
itself.
"""

import contextlib
import os
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import time

LOAD = "build/bench/luws-bench-load"
PROGRAMS = "build/bench/venv/bin"
QUICK = os.environ.get("QUICK") == "1"
TURNS = 1 if QUICK else 5
SECONDS = 0.3 if QUICK else 1
ECHOES = 2000 if QUICK else 20000
IDLE = 100 if QUICK else 900
SIZE, SMALL = 64 * 1024, 64

# The parts of the floor's rate that luws should have at least, of the fastest other bridge's time for an echo that it
# may take at most, and the most KiB for an idle connection.
UP, DOWN, ECHO, MEMORY = 0.6, 0.9, 1.2, 16


def options(port, peer):
    """Those of luws and websocksy."""
    return ["-l", "127.0.0.1", "-p", port, "-k", "0", "-c", f"port={peer}"]


def luws(lua):
    return lambda port, peer: [lua, "bin/luws", "bridge", *options(port, peer)]


BRIDGES = {
    "floor": lambda port, peer: [LOAD, "bridge", port, peer],
    "luws, lua5.1": luws("lua5.1"),
    "luws, luajit": luws("luajit"),
    "websockify": lambda port, peer: [f"{PROGRAMS}/websockify", f"127.0.0.1:{port}", f"127.0.0.1:{peer}"],
    "websocat": lambda port, peer: [
        f"{PROGRAMS}/websocat", "--binary", f"ws-l:127.0.0.1:{port}", f"tcp:127.0.0.1:{peer}"],
}
if "WEBSOCKSY" in os.environ:
    BRIDGES["websocksy"] = lambda port, peer: [os.environ["WEBSOCKSY"], *options(port, peer)]
OURS = [name for name in BRIDGES if name.startswith("luws")]
OTHERS = [name for name in BRIDGES if name not in OURS and name != "floor"]

# It has a process for each client.
FEW = {"websockify": 50}


def on(processor, command):
    return ["taskset", "-c", str(processor), *command] if len(os.sched_getaffinity(0)) > 1 else command


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def await_listener(port):
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", int(port))).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def processes(pid):
    """Returns the numbers of a process and of all below it."""
    found = [pid]
    for number in found:
        for children in pathlib.Path(f"/proc/{number}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


class Through:
    """A bridge, and both ends of connections through it."""

    def __init__(self, name, stack):
        env = os.environ | {"LUA_CPATH": "./build/?.so;;"}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.load = subprocess.Popen(on(0, [LOAD, "through"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self.load.communicate)
        stack.callback(self.load.kill)
        port, peer = free_port(), self.load.stdout.readline().strip()
        self.bridge = subprocess.Popen(on(1, BRIDGES[name](port, peer)), env=env, start_new_session=True, **quiet)
        stack.callback(self.bridge.wait)
        stack.callback(os.killpg, self.bridge.pid, 9)
        await_listener(port)
        self.load.stdin.write(f"{port}\n")

    def ask(self, *words):
        """Has the ends do something. Returns the number that they answer."""
        self.load.stdin.write(" ".join(map(str, words)) + "\n")
        self.load.stdin.flush()
        answer = self.load.stdout.readline()
        if not answer:
            raise EOFError(words)
        return float(answer)

    def processor_time(self):
        """Returns the seconds that the bridge has had of the processor."""
        ticks = 0
        for pid in processes(self.bridge.pid):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rate(self, direction):
        """Returns how many bytes the bridge carries in a second."""
        warming = 200
        count = max(warming, round(warming * SECONDS / self.ask(direction, SIZE, warming)))
        before = self.processor_time()
        self.ask(direction, SIZE, count)
        return count * SIZE / (self.processor_time() - before)

    def memory(self):
        """Returns the bytes of memory that the bridge has, each shared one only once."""
        total = 0
        for pid in processes(self.bridge.pid):
            total += int(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().split("\nPss:")[1].split()[0])
        return total * 1024


def turn(name):
    """Measures a bridge. Returns what was found; a bridge that cannot do something has nothing from there on."""
    found = {}
    with contextlib.ExitStack() as stack, contextlib.suppress(EOFError):
        through = Through(name, stack)
        found["echo"] = through.ask("echo", SMALL, ECHOES)
        count = FEW.get(name, IDLE)
        through.ask("open", count // 10)  # what is allocated once
        before = through.memory()
        through.ask("open", count)
        found["memory"] = (through.memory() - before) / count
        found["down"] = through.rate("down")
        found["up"] = through.rate("up")
        through.ask("stall")
        found["stalled"] = through.ask("echo", SMALL, ECHOES)
    return found


ROWS = [
    ("MB/s of 64 KiB from the client", "up", 1e-6, "{:.0f}"),
    ("MB/s of 64 KiB to the client", "down", 1e-6, "{:.0f}"),
    ("µs for an echo of 64 bytes", "echo", 1, "{:.1f}"),
    ("... while another client does not read", "stalled", 1, "{:.1f}"),
    ("KiB for each idle connection", "memory", 1 / 1024, "{:.1f}"),
]


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    turns = {name: [] for name in BRIDGES}
    for _ in range(TURNS):
        for name, found in turns.items():
            found.append(turn(name))
    medians = {
        name: {what: statistics.median(one[what] for one in found) for what in found[0]}
        for name, found in turns.items()
    }
    print(f"{'':38}" + "".join(f"{name:>14}" for name in BRIDGES))
    for title, what, factor, form in ROWS:
        cells = (form.format(one[what] * factor) if what in one else "none" for one in medians.values())
        print(f"{title:38}" + "".join(f"{cell:>14}" for cell in cells))
    for name in OURS:
        own, floor = medians[name], medians["floor"]
        best = min(medians[other]["echo"] for other in OTHERS)
        up, down, echo, memory = (
            own["up"] / floor["up"], own["down"] / floor["down"], own["echo"] / best, own["memory"] / 1024)
        for what, is_met in [
            (f"from clients {up:.2f} of the floor's rate (at least {UP})", up >= UP),
            (f"to clients {down:.2f} (at least {DOWN})", down >= DOWN),
            (f"echoes in {echo:.2f} of the best other's time (at most {ECHO})", echo <= ECHO),
            (f"{memory:.1f} KiB idle (at most {MEMORY})", memory <= MEMORY),
        ]:
            print(f"{name}: {what}: {'ok' if is_met else 'MISS'}")


if __name__ == "__main__":
    main()
