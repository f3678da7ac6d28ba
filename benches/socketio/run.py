#!/usr/bin/env python3
"""Events of Socket.IO with 64 bytes each, over a WebSocket: luws beside npm's socket.io and python-socketio.

Each is measured in both roles and both directions, with npm's at the other end, by the time of the processor that its
process takes: how many events it could send or receive in a second if it had a processor to itself.

    benches/socketio/run.py [EVENTS]

With QUICK=1 in the environment it is less of everything.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
HERE = ROOT / "benches/socketio"
QUICK = os.environ.get("QUICK") == "1"
COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000 if QUICK else 100_000
RUNS = 1 if QUICK else 3  # the best counts

PYTHON = ROOT / "build/interop/venv/bin/python"
PEERS = {
    "luws (LuaJIT)": ["luajit", HERE / "peer.lua"],
    "luws (Lua 5.1)": ["lua5.1", HERE / "peer.lua"],
    "socket.io": ["node", HERE / "peer.js"],
    "python-socketio": [PYTHON, HERE / "peer.py"],
}
OTHER = "socket.io"
ENVIRONMENT = dict(os.environ, LUA_CPATH=f"{ROOT}/build/?.so;;")


def run(server, client):
    """Returns, for sending to the server and receiving from it, the seconds of the client and of the server."""
    serving = subprocess.Popen([*PEERS[server], "server"], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        port = int(serving.stdout.readline())
        said = subprocess.run(
            [*PEERS[client], "client", f"http://127.0.0.1:{port}", str(COUNT)],
            stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True, timeout=120,
        ).stdout
    finally:
        serving.kill()
        serving.wait()
    rows = [[float(word) for word in line.split()] for line in said.splitlines()]
    return [(mine, of_server) for mine, _, of_server in rows]


def main():
    print(f"events a second, {COUNT:,} events of 64 bytes, the other end is {OTHER}\n")
    print(f"{'':18}{'client sends':>15}{'receives':>15}{'server receives':>18}{'sends':>15}")
    for name in PEERS:
        clients = [run(OTHER, name) for _ in range(RUNS)]
        servers = [run(name, OTHER) for _ in range(RUNS)]
        best = [
            min(rows[0][0] for rows in clients), min(rows[1][0] for rows in clients),
            min(rows[0][1] for rows in servers), min(rows[1][1] for rows in servers),
        ]
        rates = [f"{COUNT / seconds:,.0f}" for seconds in best]
        print(f"{name:18}{rates[0]:>15}{rates[1]:>15}{rates[2]:>18}{rates[3]:>15}", flush=True)


main()
