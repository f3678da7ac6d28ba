#!/usr/bin/env python3
"""Counts the instructions that each operation of luws needs, and compares them with the baseline.

usage: run.py              counts, compares, prints; `make bench-ir` builds what this needs
       run.py --baseline   counts, and makes the result the baseline (`make bench-ir-baseline`)

In the environment:

  ROWS='poll,send *'   only rows with these names (patterns)
  LUA=luajit           LuaJIT without its compiler instead of lua5.1; nothing is compared then
  REPEAT=3             count several times, and print the spread of the figures
  JOBS=1               processes at a time (as many as there are processors)
  LUWS=FOLDER          the luws.so to measure (build)

Valgrind's callgrind counts the instructions, so neither other processes nor the time that anything takes affect the
figures. Each operation runs a few times in one process and more often in another; the cost of one operation is the
difference, divided by the difference in operations. Instructions of the kernel are not counted. The process runs
client.lua. Its peer is here and does what client.lua asks for, one thing at a time, so the two never race.

The figures depend on what baseline.json lists under `machine`. On other machines they are printed, but not judged.

Exit status: 0; 1 if an operation needs at least 5 % more than in the baseline, and the baseline is from a machine like
this one; 2 if nothing could be counted.
"""

import base64
import concurrent.futures
import contextlib
import fcntl
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import machine

HERE = pathlib.Path("benches/ir")
BASELINE = HERE / "baseline.json"

TOLERANCE = 0.05
LONGEST = 120       # seconds for one process
ATTEMPTS = 5        # times that a disturbed process is started

# When LuaJIT's compiler does its work differs from run to run. Without it, figures still differ by up to 5 %, because
# each process hashes its strings with its own random number. So there is no baseline for LuaJIT.
COMMANDS = {"lua5.1": ["lua5.1"], "luajit": ["luajit", "-joff"]}
COMPARED = "lua5.1"

KIB = 1024


class Row:
    """Describes one figure: an entry of the table below.

    `kind` is its name in client.lua, which does it `short` and `long` times. With receive, each time takes in `batch`
    messages, or `piece` bytes of a message.
    """

    def __init__(self, name, kind, short, long, *, size=0, batch=1, piece=None):
        self.name, self.kind, self.short, self.long = name, kind, short, long
        self.size, self.batch, self.piece = size, batch, piece

    def operations(self, count):
        """Returns the number of operations in `count` turns."""
        if self.piece:
            return count * self.piece / len(frame(self.size))
        return count * self.batch


# One wsreceive reads at most 16 KiB and handles messages for at most 5 ms, which is not much under valgrind, so the
# batches are small. The 64 KiB received are one frame with its header, in four reads.
ROWS = [
    Row("poll", "poll", 200, 1200),
    Row("receive 16 B, one at a time", "receive", 20, 220, size=16),
    Row("receive 16 B, 20 at once", "receive", 5, 25, size=16, batch=20),
    Row("receive 1 KiB, 10 at once", "receive", 5, 25, size=KIB, batch=10),
    Row("receive 64 KiB", "receive", 8, 72, size=64 * KIB - 4, piece=16 * KIB),
    Row("send 16 B", "send", 20, 220, size=16),
    Row("send 1 KiB", "send", 20, 220, size=KIB),
    Row("send 64 KiB", "send", 4, 24, size=64 * KIB),
    Row("open and close", "open", 5, 25),
    Row("a step with nothing to do", "idle", 200, 1200),
    Row("receive 16 B by a step", "driven receive", 20, 220, size=16),
    Row("open and close by steps", "driven open", 5, 25),
    Row("wshandleincoming 16 B", "incoming", 100, 600, size=16),
    Row("require", "require", 0, 1),
]


def fail(message):
    print("run.py: " + message, file=sys.stderr)
    sys.exit(2)


class Disturbed(Exception):
    """A process did not do what it should have done; another try may succeed."""


def frame(size):
    """Returns a server's text message (RFC 6455 section 5.2)."""
    header = bytes([0x81]) + (bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size))
    return header + (b"The quick brown fox jumps over the lazy dog. " * (size // 45 + 1))[:size]


def masked_length(size):
    """Returns the length of a client's frame in bytes."""
    return size + (6 if size < 126 else 8 if size < 65536 else 14)


class Peer:
    """The server for one client process. It serves that process's connections one after the other."""

    def __init__(self, row):
        self.row, self.client, self.connection = row, None, None
        self.failure = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.receives = row.kind in ("receive", "driven receive")
        self.batch = frame(row.size) * row.batch if self.receives else b""
        self.sent = 0   # bytes sent of the stream of batches

    def url(self):
        return "ws://127.0.0.1:%d/" % self.listener.getsockname()[1]

    def serve(self):
        """Accepts connections until the listener is closed. Closes those that the client closes."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            try:
                self.upgrade(connection)
                if self.row.kind in ("open", "driven open"):
                    self.close(connection)
            except (OSError, Disturbed) as error:
                self.failure = error
                return

    def asleep(self):
        """Returns when the client waits for something, so that it does nothing more until we do."""
        deadline = time.monotonic() + LONGEST
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                state = pathlib.Path("/proc/%d/stat" % self.client.pid).read_text().rpartition(")")[2].split()[0]
                if state == "S":
                    return
                if state in "ZX":
                    break
            time.sleep(0.0005)
        raise Disturbed("the client has ended")

    def upgrade(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while b"\r\n\r\n" not in request:
            request += self.receive(connection, KIB)
        key = re.search(rb"(?i)^sec-websocket-key: *(\S+)", request, re.MULTILINE).group(1)
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self.asleep()
        self.connection = connection    # before the client continues and asks
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")

    def close(self, connection):
        """Answers the client's close frame, and ends the stream in the same packet."""
        taken = 0
        while taken < masked_length(2):
            taken += len(self.receive(connection, KIB))
        self.asleep()
        connection.send(b"\x88\x02\x03\xe8", socket.MSG_MORE)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1)
        connection.close()

    def arrived(self):
        """Returns when the client's kernel has received everything that was sent."""
        deadline = time.monotonic() + LONGEST
        while time.monotonic() < deadline:
            left = struct.unpack("i", fcntl.ioctl(self.connection, termios.TIOCOUTQ, bytes(4)))[0]
            if not left:
                return
        raise Disturbed("the client's kernel does not take what was sent")

    @staticmethod
    def receive(connection, most):
        data = connection.recv(most)
        if not data:
            raise Disturbed("the client has closed the connection")
        return data

    def answer(self, question):
        """Does what the client asks for."""
        what, *numbers = question.split()
        if what == "send":
            piece = self.row.piece or len(self.batch)
            at = self.sent % len(self.batch)
            self.connection.sendall((self.batch * 2)[at:at + piece])
            self.sent += piece
            self.arrived()
        elif what == "take":
            left = masked_length(self.row.size)
            while left:
                left -= len(self.receive(self.connection, left))
        elif what == "count" and self.receives:
            wanted = self.sent // len(frame(self.row.size))
            if [int(number) for number in numbers] != [wanted, wanted * self.row.size]:
                raise Disturbed("%s messages and bytes instead of %d" % (numbers, wanted))


def count_once(row, lua, count, module):
    """Counts the instructions of one process that does `count` turns."""
    peer = Peer(row)
    command = (["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"] + COMMANDS[lua]
               + [str(HERE / "client.lua"), row.kind, str(count), str(row.long), peer.url(), str(row.size)])
    # Nothing else, so that addresses do not depend on the user's environment.
    environment = {"PATH": os.environ["PATH"], "LUA_CPATH": module + "/?.so", "LUA_PATH": ""}
    client = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, bufsize=1)
    peer.client = client
    server = threading.Thread(target=peer.serve, daemon=True)
    server.start()
    watchdog = threading.Timer(LONGEST, client.kill)
    watchdog.start()
    ended = False
    try:
        for line in client.stdout:
            if line.strip() == "end":
                ended = True
            else:
                peer.answer(line)
                client.stdin.write("done\n")
    except (OSError, ValueError) as error:
        raise Disturbed(str(error)) from error
    finally:
        if not ended:
            client.kill()
        watchdog.cancel()
        peer.listener.shutdown(socket.SHUT_RDWR)    # wakes the thread
        peer.listener.close()
        said = client.stderr.read()
        client.wait()
        for pipe in (client.stdin, client.stdout, client.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        if peer.connection:
            peer.connection.close()
    found = re.search(r"Collected : (\d+)", said)
    if client.returncode or not ended or not found:
        raise Disturbed(said + ("\n%s" % peer.failure if peer.failure else ""))
    return int(found.group(1))


def count(row, lua, turns, module):
    for attempt in range(ATTEMPTS):
        try:
            return count_once(row, lua, turns, module)
        except Disturbed as error:
            last = error
    raise last


def measure(row, lua, module):
    """Returns the instructions for one operation."""
    counted = [count(row, lua, turns, module) for turns in (row.short, row.long)]
    return (counted[1] - counted[0]) / (row.operations(row.long) - row.operations(row.short))


def identity():
    """Returns what the figures depend on besides luws. The CPU model decides which variants of functions are used."""
    whole = machine.machine()
    return {"cpu": machine.cpu("model name", "cpu family", "model", "stepping"), "libc": whole["libc"],
            "lua5.1": machine.package("lua5.1") or whole["lua5.1"], "rustc": whole["rustc"],
            "openssl": machine.first_line("pkg-config", "--modversion", "openssl"),
            "valgrind": machine.first_line("valgrind", "--version")}


def report(counted, medians, baseline):
    """Prints the figures next to the baseline's. Returns the names of the rows with more, and of those with less."""
    regressions, improvements = [], []
    for name, now in medians.items():
        line = "%-28s %12s" % (name, "{:,}".format(now))
        before = baseline["instructions"].get(name) if baseline else None
        if before:
            line += "   baseline %12s %+7.1f %%" % ("{:,}".format(before), 100 * (now / before - 1))
            if now >= before * (1 + TOLERANCE):
                regressions.append(name)
            elif now <= before * (1 - TOLERANCE):
                improvements.append(name)
        if len(counted[name]) > 1:
            line += "   %.2f %% apart" % (100 * (counted[name][-1] / counted[name][0] - 1))
        print(line)
    return regressions, improvements


def main():
    if sys.argv[1:] not in ([], ["--baseline"]):
        fail("usage: run.py [--baseline]; its first lines list the settings")
    module = os.environ.get("LUWS") or "build"
    if not (pathlib.Path(module) / "luws.so").exists():
        fail("there is no %s/luws.so: `make bench-ir` builds it" % module)
    lua = os.environ.get("LUA") or COMPARED
    if lua not in COMMANDS:
        fail("LUA must be one of: " + ", ".join(COMMANDS))
    for program in ["valgrind", lua]:
        if not shutil.which(program):
            fail("there is no %s on the PATH" % program)
    patterns = [pattern.strip() for pattern in (os.environ.get("ROWS") or "*").split(",")]
    rows = [row for row in ROWS if any(fnmatch.fnmatchcase(row.name, pattern) for pattern in patterns)]
    if not rows:
        fail("no such row; there are: " + "; ".join(row.name for row in ROWS))
    repeat = int(os.environ.get("REPEAT") or 1)
    jobs = int(os.environ.get("JOBS") or len(os.sched_getaffinity(0)))
    make_baseline = sys.argv[1:] == ["--baseline"]
    if make_baseline and (rows != ROWS or lua != COMPARED):
        fail("a baseline must have all rows, and be for " + COMPARED)

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [[pool.submit(measure, row, lua, module) for _ in range(repeat)] for row in rows]
        try:
            counted = {row.name: sorted(future.result() for future in of_row) for row, of_row in zip(rows, futures)}
        except Disturbed as error:
            pool.shutdown(cancel_futures=True)
            fail(str(error))
    seconds = round(time.monotonic() - started)
    medians = {name: round(figures[len(figures) // 2]) for name, figures in counted.items()}
    here = identity()

    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() and not make_baseline else None
    regressions, improvements = report(counted, medians, baseline if lua == COMPARED else None)
    print("Instructions for one operation, by %s. It took %d seconds." % (" ".join(COMMANDS[lua]), seconds))
    if make_baseline:
        BASELINE.write_text(json.dumps({"machine": here, "instructions": medians}, indent=1) + "\n")
        print("This is the new baseline: %s." % BASELINE)
    elif lua == COMPARED and baseline:
        different = [name for name in here if here[name] != baseline["machine"].get(name)]
        if different:
            print("The baseline is from another environment, so the differences mean nothing here:")
            for name in different:
                print("  %s: %s here, %s there" % (name, here[name], baseline["machine"].get(name)))
            return
        if improvements:
            print("At least 5 %% less than in the baseline: %s. Update it: `make bench-ir-baseline`."
                  % ", ".join(improvements))
        if regressions:
            print("At least 5 %% more than in the baseline: %s. If that is intended: `make bench-ir-baseline`."
                  % ", ".join(regressions))
            sys.exit(1)


main()
