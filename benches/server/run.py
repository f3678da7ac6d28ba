#!/usr/bin/env python3
"""Measures servers: luws on Lua 5.1 and LuaJIT, npm's ws, Python's websockets, and the least that a server could do.

usage: run.py        measures everything, in three minutes (`make bench-server`); in the environment:

  QUICK=1            less of everything

The server runs on one processor, and its clients on another. All servers take turns, and the median of the turns is
printed: how many messages of 64 bytes are echoed in a second over 100 connections, how many connections are opened in
a second, and what an idle one takes of the server's memory. For luws also: what a step with nothing to do takes, and
how long it takes to send 1 KiB to 1,000 connections: the call, and until the kernel has all of it.
"""

import contextlib
import os
import pathlib
import resource
import statistics
import subprocess
import sys

LOAD = "build/bench/luws-bench-load"
QUICK = os.environ.get("QUICK") == "1"
TURNS = 1 if QUICK else 5
SECONDS = 0.5 if QUICK else 2
IDLE = 1000 if QUICK else 10000
MEMBERS = 1000
ECHOING, SIZE = 100, 64

SERVERS = {
    "floor": [LOAD, "floor"],
    "luws, lua5.1": ["lua5.1", "benches/server/serve.lua"],
    "luws, luajit": ["luajit", "benches/server/serve.lua"],
    "ws": ["node", "benches/server/serve_ws.js"],
    "websockets": ["build/interop/venv/bin/python", "benches/server/serve_websockets.py"],
}


def on(processor, command):
    return ["taskset", "-c", str(processor), *command] if len(os.sched_getaffinity(0)) > 1 else command


@contextlib.contextmanager
def serving(name):
    """Runs a server. Gives its process and its port."""
    env = os.environ | {"LUA_PATH": "./?.lua;;", "LUA_CPATH": "./build/?.so;;"}
    process = subprocess.Popen(on(1, SERVERS[name]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def load(*arguments):
    """Runs the clients. Returns the numbers that they print."""
    command = on(0, [LOAD, *map(str, arguments)])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return [float(word) for word in done.stdout.split()]


def resident(process):
    """Returns the bytes of memory that a process has."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def echoes(name):
    with serving(name) as (_, port):
        return load("echo", port, ECHOING, SIZE, SECONDS)[0]


def opened(name):
    """Returns how many connections were opened in a second, and the KiB that each takes."""
    with serving(name) as (process, port):
        load("echo", port, ECHOING, SIZE, 0.5)  # what is allocated once
        before = resident(process)
        clients = subprocess.Popen(on(0, [LOAD, "open", port, str(IDLE)]), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        rate = float(clients.stdout.readline())
        memory = (resident(process) - before) / IDLE / 1024
        idle = load("ask", port, 1, "idle", 3) if name.startswith("luws") else None
        clients.communicate("")
        return rate, memory, idle and min(idle)


def broadcast(name):
    """Returns the milliseconds that a broadcast takes: the call, and until all is written."""
    with serving(name) as (_, port):
        return [statistics.median(load("ask", port, MEMBERS + 1, what, 20)) for what in ("broadcast", "delivery")]


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < IDLE + 200:
        sys.exit(f"run.py: a process here can have {limit} descriptors, which is too few for {IDLE} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    found = {name: {"echo": [], "open": [], "memory": [], "idle": []} for name in SERVERS}
    for _ in range(TURNS):
        for name, figures in found.items():
            figures["echo"].append(echoes(name))
            rate, memory, idle = opened(name)
            figures["open"].append(rate)
            figures["memory"].append(memory)
            figures["idle"].append(idle)
    print(f"{'':14}  echoes a second  of the floor's  opened a second  KiB for each  us for a step")
    floor = statistics.median(found["floor"]["echo"])
    for name, figures in found.items():
        echo, rate, memory = (statistics.median(figures[what]) for what in ("echo", "open", "memory"))
        idle = f"{statistics.median(figures['idle']):.2f}" if figures["idle"][0] else ""
        print(f"{name:14}  {echo:15.0f}  {echo / floor:14.2f}  {rate:15.0f}  {memory:12.1f}  {idle:>13}")
    for name in SERVERS:
        if name.startswith("luws"):
            call, delivery = broadcast(name)
            print(f"{name}: 1 KiB to {MEMBERS} connections: {call:.2f} ms,"
                  f" and all of it written after {delivery:.2f} ms")


if __name__ == "__main__":
    main()
