#!/usr/bin/env python3
"""A TCP peer that plays scripts: sends bytes that no well-behaved server would send, and records all that arrives.

It knows nothing of the specs or of the client under test, and of WebSocket only the accept hash and the layout of a
frame. Everything else that a peer sends is text from the spec. scripted_player.py plays the steps; scripted.lua is the
Lua side.

Started once per run: `scripted_server.py --ready FILE [--cert PEM --key PEM]`. It writes `control PORT` to FILE and
ends at the end of its standard input, which the run holds open. The folder of PEM has the certificates, by name. A
request is one connection to the control port: its lines, then the end of the stream; the answer's lines, an empty line
and the bytes that the answer has, then the end of the stream. Bytes of requests are in hexadecimal; in an answer's
lines, START:END says which of its bytes are meant.

    script [tls=LINE] [address=A] [deadline=SECONDS] [receive_buffer=BYTES]  + a line for each step  -> port PORT
    result PORT CONNECTION SECONDS [STEP]    the record once the script has ended (or reached STEP), or after SECONDS
    go PORT                                  lets one `wait` step of that script pass
    refused ADDRESS | silent ADDRESS         a port that refuses, or one where connecting never succeeds -> port PORT
    close PORT                               closes the port and ends its connections

A step's line is `NAME option=value ...`; the steps and their options are the methods `Player.step_*`. LINE is such a
line, too: that of the `tls` step before all others.
"""

import argparse
import inspect
import os
import socket
import sys
import threading

from scripted_player import Player

PORTS = {}  # port -> Script, or the sockets of a port without one; a port identifies its script while both live


class Refusal(Exception):
    """A request was invalid; the text is the answer."""


class Script:
    """A listening port, and the steps to play on each connection to it."""

    def __init__(self, steps, tls=b"", address="127.0.0.1", deadline=10.0, receive_buffer=0):
        # Step 0 is the handshake of the option, so that it does not change the numbers of the other steps.
        handshake = [(0, parse_step(tls.decode()))] if tls else []
        self.steps = handshake + list(enumerate(steps, 1))
        self.deadline = min(deadline, 60.0)
        self.players, self.changed = [], threading.Condition()
        self.closing, self.tickets = threading.Event(), threading.Semaphore(0)
        self.listener = bound(address)
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return  # closed by `close`
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each write is sent at once, by itself
            with self.changed:
                self.players.append(Player(self, sock))
                self.players[-1].start()
                self.changed.notify_all()

    def result(self, connection, seconds, step):
        def reached():
            if len(self.players) < connection:
                return False
            player = self.players[connection - 1]
            return player.ended or step and player.step[0] >= step

        with self.changed:
            self.changed.wait_for(reached, seconds)
            yield ("connections", len(self.players))
            if len(self.players) >= connection:
                yield from self.players[connection - 1].report()

    def close(self):
        self.closing.set()
        self.tickets.release(len(self.players) + 1)
        for sock in [self.listener, *(player.sock for player in self.players)]:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # wakes threads in accept or recv
            except OSError:
                pass
        self.listener.close()


def bound(address):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.bind((address, 0))
    return sock


def silent(address):
    """Returns a listener whose accept queue is full, so that the next SYN gets no answer."""
    listener = bound(address)
    listener.listen(0)
    sockets = [listener]
    while len(sockets) < 16:
        filler = socket.socket(listener.family)
        filler.settimeout(0.1)
        sockets.append(filler)
        try:
            filler.connect(listener.getsockname())
        except TimeoutError:
            return sockets
    raise Refusal("this system completes connections that nobody accepts: no silent port")


# The control port

PARSE = {bytes: bytes.fromhex, int: int, float: float, bool: lambda text: text == "1", str: str}


def parse_options(function, pairs):
    """Returns the `name=value` pairs as keyword arguments for `function`, according to its signature."""
    known, options = inspect.signature(function).parameters, {}
    for name, _, value in (pair.partition("=") for pair in pairs):
        if name not in known or name in ("self", "steps"):
            raise Refusal(f"unknown option {name!r}")
        annotation = known[name].annotation
        kind = type(known[name].default) if annotation is inspect.Parameter.empty else annotation
        options[name] = PARSE[kind](value)
    missing = [name for name, parameter in known.items()
               if parameter.default is parameter.empty and name not in ("self", "steps") and name not in options]
    if missing:
        raise Refusal(f"{' and '.join(missing)} missing")
    return options


def parse_step(line):
    name, *pairs = line.split(" ")
    method = getattr(Player, "step_" + name, None)
    if not method:
        raise Refusal(f"no step is called {name!r}")
    try:
        return name, parse_options(method, pairs)
    except (Refusal, ValueError) as error:
        raise Refusal(f"step {name!r}: {error}") from None


def answer(request):
    """Returns the lines of the answer to a request, each a tuple of words."""
    first, *rest = request.split("\n")
    verb, *words = first.split(" ")
    if verb == "script":
        script = Script([parse_step(line) for line in rest if line], **parse_options(Script, words))
        port = script.listener.getsockname()[1]
        PORTS[port] = script
        return [("port", port)]
    if verb in ("refused", "silent"):
        # A socket that is bound but not listening refuses, and nobody else can get the port meanwhile.
        sockets = silent(words[0]) if verb == "silent" else [bound(words[0])]
        port = sockets[0].getsockname()[1]
        PORTS[port] = sockets
        return [("port", port)]
    holder = PORTS.get(int(words[0])) if words else None
    if holder is None:
        raise Refusal(f"nothing to do for {first!r}")
    if verb == "close":
        del PORTS[int(words[0])]
        for closable in holder if isinstance(holder, list) else [holder]:
            closable.close()
        return [("closed",)]
    if verb == "go":
        holder.tickets.release()
        return [("gone",)]
    step = int(words[3]) if len(words) > 3 else None
    return holder.result(int(words[1]), float(words[2]), step)


def encoded(lines):
    """Returns the bytes of an answer."""
    text, data = [], bytearray()
    for words in lines:
        for word in words:
            if isinstance(word, (bytes, bytearray)):
                text.append(f"{len(data)}:{len(data) + len(word)}")
                data += word
            else:
                text.append(str(word))
            text.append(" ")
        text[-1] = "\n"
    return "".join(text).encode() + b"\n" + data


def serve_request(sock):
    with sock:
        try:
            request = b"".join(iter(lambda: sock.recv(1 << 16), b""))
            reply = encoded(answer(request.decode()))
        except (Refusal, ValueError, OSError) as error:
            reply = encoded([("refusal", str(error).encode())])
        sock.sendall(reply)


def serve_control(listener):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve_request, args=(sock,), daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--ready", required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    Player.certificates = os.path.dirname(arguments.cert or "")
    control = bound("127.0.0.1")
    control.listen(64)
    threading.Thread(target=serve_control, args=(control,), daemon=True).start()
    with open(arguments.ready + ".new", "w", encoding="ascii") as ready:
        ready.write(f"control {control.getsockname()[1]}\n")
    os.replace(arguments.ready + ".new", arguments.ready)
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for unfinished scripts


if __name__ == "__main__":
    main()
