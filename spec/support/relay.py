#!/usr/bin/env python3
"""A TCP relay with faults: passes bytes between a client and a server until a certain number has passed one way. Then
the fault begins. The faults are those of relay.lua, which has the same in memory, and `resets`.

It knows nothing of what passes, nor of the specs. Started once per run: `relay.py --ready FILE`. It writes `control
PORT` to FILE and ends at the end of its standard input. A request is one line on a connection to the control port; the
answer is one line.

    relay PORT FAULT WAY AT SECONDS   relays one connection to 127.0.0.1:PORT; FAULT can be `none`  -> the port to use
    passed PORT                       -> the bytes that have passed up and down
    report PORT                       the same, once that relay has ended
"""

import argparse
import os
import select
import socket
import struct
import sys
import threading
import time

PATIENCE = 20.0  # seconds after which a relay ends by itself
RELAYS = {}  # by port


class Way:
    """One direction of a relay."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.passed, self.limit, self.most = 0, None, 1 << 16
        self.reads = self.is_open = True  # whether to read, and whether to pass on
        self.resumes = 0.0  # when to read again, after a pause

    def end(self):
        """Ends this way. What still comes is dropped."""
        if self.is_open:
            self.is_open = False
            try:
                self.target.shutdown(socket.SHUT_WR)
            except OSError:
                pass


class Relay(threading.Thread):
    def __init__(self, target, fault, way, at, seconds):
        super().__init__(daemon=True)
        self.target, self.fault, self.way, self.at, self.seconds = target, fault, way, at, seconds
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ways = {}

    def run(self):
        client = self.listener.accept()[0]
        self.listener.close()
        server = socket.create_connection(("127.0.0.1", self.target))
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ways = {"up": Way(client, server), "down": Way(server, client)}
        if self.fault != "none":
            self.ways[self.way].limit = self.at
        try:
            self.relay(client)
        except OSError:
            pass  # one of them has reset its connection; the other one's is closed
        client.close()
        server.close()

    def relay(self, client):
        deadline = time.monotonic() + PATIENCE
        ended = set()
        while len(ended) < 2 and (now := time.monotonic()) < deadline:
            for way in self.ways.values():
                if way.limit == way.passed:
                    way.limit = None
                    if getattr(self, self.fault)(way):
                        return
            waiting = {way.source: way for way in self.ways.values()
                       if way.source not in ended and way.reads and now >= way.resumes}
            poll = select.poll()
            for way in self.ways.values():
                if way.source not in ended:
                    events = select.POLLIN if way.source in waiting else 0 if way.reads else select.POLLRDHUP
                    poll.register(way.source, events)
            pauses = [1000 * (way.resumes - now) for way in self.ways.values() if way.resumes > now]
            ready = {fd for fd, events in poll.poll(min(pauses, default=5)) if events}
            for way in self.ways.values():
                if way.source.fileno() not in ready or way.source in ended:
                    continue
                if way.source not in waiting:
                    return  # it has left a stalled relay
                left = way.most if way.limit is None else min(way.most, way.limit - way.passed)
                data = way.source.recv(left)
                if not data:
                    if way.source is client and not way.is_open:
                        return  # nobody else will learn it
                    ended.add(way.source)
                    way.end()
                elif way.is_open:
                    way.target.sendall(data)
                    way.passed += len(data)
                    if way.most == 1:
                        way.resumes = now + self.seconds

    # The faults. Each returns whether the relay is over.

    def ends(self, way):
        way.end()

    def vanishes(self, _):
        for way in self.ways.values():
            way.source.setblocking(False)
            try:
                while way.source.recv(1 << 16):  # closing on unread bytes would be a reset
                    pass
            except OSError:
                pass
        return True

    def resets(self, _):
        for way in self.ways.values():
            way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True

    def stalls(self, way):
        way.reads = False

    def freezes(self, _):
        for way in self.ways.values():
            way.reads = False

    def swallows(self, way):
        way.is_open = False

    def pauses(self, way):
        way.resumes = time.monotonic() + self.seconds

    def drips(self, way):
        way.most = 1


def answer(verb, port, *words):
    if verb == "relay":
        fault, way, at, seconds = words
        relay = Relay(int(port), fault, way, int(at), float(seconds))
        RELAYS[relay.port] = relay
        relay.start()
        return str(relay.port)
    relay = RELAYS[int(port)]
    if verb == "report":
        del RELAYS[relay.port]
        relay.join(PATIENCE)
    return " ".join(str(relay.ways[way].passed) for way in ("up", "down"))


def serve(sock):
    with sock, sock.makefile("rw") as lines:
        lines.write(answer(*lines.readline().split()) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--ready", required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    control = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            threading.Thread(target=serve, args=(control.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with open(arguments.ready + ".new", "w", encoding="ascii") as ready:
        ready.write(f"control {control.getsockname()[1]}\n")
    os.replace(arguments.ready + ".new", arguments.ready)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
