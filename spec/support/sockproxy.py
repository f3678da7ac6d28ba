#!/usr/bin/env python3
"""A stand-in for SockProxy, the daemon of Luup systems: correct, and wrong in every way that a client must survive.

    greeting = "OK TOGGLEDBITS-SOCKPROXY " version " " pid LF
    CONN     = "CONN " host ":" port *( SP key "=" value ) LF
    reply    = "OK CONN " pid LF, then a transparent pipe in both directions
    errors   = "ERR " word " " text LF, then the end

It knows nothing of WebSocket or of the specs. Started once per run: `sockproxy.py --ready FILE`. It listens on a port
for each mode (MODES) and writes them to FILE, as `mode PORT`; it ends at the end of its standard input.

The record is read from the port `control`. Once no negotiation is under way, a connection there gets one line for each
connection since the last time, in the order of their arrival: its mode, how it ended (piped, failed: by us, left: by
the client) and, in hexadecimal or `-`, its pid, the CONN line, the bytes before the greeting, and the bytes between
CONN and its reply. The last line is `end`.
"""

import argparse
import itertools
import os
import socket
import sys
import threading
import time

GREETING = "OK TOGGLEDBITS-SOCKPROXY 21350 %s\n"
PATIENCE = 10.0  # seconds of silence from a client, and of waiting for negotiations before a record

# What each mode's port does instead of the usual.
MODES = {
    "good": "",
    "silent": "never says a word",
    "wrong": "greets as something else",
    "endless": "greets without ever ending the line",
    "closes": "greets and ends",
    "busy": "says ERR instead of the greeting",
    "refuses": "says ERR instead of OK CONN",
    "vanishes": "ends instead of saying OK CONN",
    "mute": "takes CONN and never answers",
    "slow": "takes 0.5 s for OK CONN",
    "bytes": "says everything in single bytes",
}

CHANGED = threading.Condition()
RECORD = []
PIDS = itertools.count(4711)


class Left(Exception):
    """The client has left."""


class Connection(threading.Thread):
    def __init__(self, mode, client):
        super().__init__(daemon=True)
        self.mode, self.client = mode, client
        self.pid, self.state = str(next(PIDS)), "negotiating"
        self.conn = self.before = self.between = b""

    def run(self):
        self.client.settimeout(PATIENCE)
        try:
            target = self.negotiate()
        except (Left, OSError):
            target = None
            self.become("left")
        if target:
            back = threading.Thread(target=pipe, args=(target, self.client), daemon=True)
            back.start()
            pipe(self.client, target)
            back.join()
            target.close()
        self.client.close()

    def negotiate(self):
        """Returns the socket to the target, or None if the failure is ours."""
        if self.mode == "silent":
            return self.wait_for_end()
        self.before = self.waiting()
        if self.mode == "endless":
            while True:
                self.say("OK TOGGLEDBITS-SOCKPROXY " * 100)
        if self.mode == "busy":
            return self.fail("ERR TOOMANY too many connections\n")
        if self.mode == "wrong":
            return self.fail("220 mail.example ESMTP\n")
        if self.mode == "closes":
            return self.fail(GREETING % self.pid)
        self.say(GREETING % self.pid)
        while not self.conn.endswith(b"\n"):
            byte = self.client.recv(1)
            if not byte:
                raise Left
            self.conn += byte
        if self.mode == "mute":
            return self.wait_for_end()
        if self.mode == "vanishes":
            return self.fail("")
        if self.mode == "refuses":
            return self.fail("ERR CONN target is not to my liking\n")
        words = self.conn.decode().split()
        host, _, port = words[1].partition(":")
        try:
            target = socket.create_connection((host, int(port)), 5)
        except (OSError, ValueError) as error:
            return self.fail(f"ERR CONN {error}\n")
        # Long enough for anything that a client might send too early.
        time.sleep(0.5 if self.mode == "slow" else 0.02)
        self.between = self.waiting()
        for sock in (self.client, target):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target.settimeout(None)
        self.become("piped")
        self.say(f"OK CONN {self.pid}\n")
        self.client.settimeout(None)
        return target

    def say(self, text):
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = 1 if self.mode == "bytes" else max(1, len(text))
        for at in range(0, len(text), size):
            self.client.sendall(text[at:at + size].encode())
            if self.mode == "bytes":
                time.sleep(0.001)

    def fail(self, text):
        self.say(text)
        self.become("failed")

    def waiting(self):
        """Returns bytes that have arrived unasked."""
        self.client.setblocking(False)
        try:
            return self.client.recv(65536)
        except BlockingIOError:
            return b""
        finally:
            self.client.settimeout(PATIENCE)

    def wait_for_end(self):
        while data := self.client.recv(65536):
            if self.conn:
                self.between += data
            else:
                self.before += data
        raise Left

    def become(self, state):
        with CHANGED:
            self.state = state
            CHANGED.notify_all()

    def line(self):
        words = [(word.hex() or "-") for word in (self.pid.encode(), self.conn, self.before, self.between)]
        return " ".join([self.mode, self.state, *words]) + "\n"


def pipe(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def listener():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    return sock


def serve(mode, sock):
    while True:
        client, _ = sock.accept()
        connection = Connection(mode, client)
        with CHANGED:
            RECORD.append(connection)
        connection.start()


def control(sock):
    while True:
        client, _ = sock.accept()
        with CHANGED:
            CHANGED.wait_for(lambda: all(each.state != "negotiating" for each in RECORD), PATIENCE)
            text = "".join(connection.line() for connection in RECORD)
            RECORD.clear()
        client.sendall((text + "end\n").encode())
        client.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready", required=True)
    parser.add_argument("--cert")  # every server gets one
    parser.add_argument("--key")
    args = parser.parse_args()
    lines = []
    for mode in [*MODES, "control"]:
        sock = listener()
        lines.append(f"{mode} {sock.getsockname()[1]}\n")
        target, arguments = (control, (sock,)) if mode == "control" else (serve, (mode, sock))
        threading.Thread(target=target, args=arguments, daemon=True).start()
    with open(args.ready + ".part", "w", encoding="ascii") as file:
        file.write("".join(lines))
    os.rename(args.ready + ".part", args.ready)
    sys.stdin.read()


if __name__ == "__main__":
    main()
