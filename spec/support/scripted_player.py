"""Plays the steps of one connection of a scripted peer, and records everything that arrives.

It does not know where a script comes from, nor who asks for the record; scripted_server.py does. Each method
`Player.step_*` is a step; its parameters, with their annotations and defaults, are the step's options.

Steps wait for bytes but do not consume them: the record has everything, including bytes that no step waited for. A step
that is not done within the script's deadline ends its script.
"""

import base64
import hashlib
import os
import socket
import ssl
import struct
import threading
import time

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Failure(Exception):
    """Ends a script early; its text becomes the record's `error`."""


def parse_frame(data, at):
    """Returns the frame at `at` and the position of its end (RFC 6455 section 5.2), or None if it is incomplete."""
    if len(data) < at + 2:
        return None
    first, second = data[at], data[at + 1]
    size, at = second & 127, at + 2
    if size > 125:
        width = 2 if size == 126 else 8
        if len(data) < at + width:
            return None
        size, at = int.from_bytes(data[at:at + width], "big"), at + width
    key = b""
    if second & 128:
        key, at = bytes(data[at:at + 4]), at + 4
    if len(data) < at + size:
        return None
    payload = bytes(data[at:at + size])
    if key:
        # One addition of big numbers instead of a loop over bytes: specs send megabytes.
        stretched = (key * (size // 4 + 1))[:size]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")
    head = (first >> 7, first >> 4 & 7, first & 15, second >> 7)
    return (*head, key, payload), at + size


def frame(fin, opcode, payload):
    """Returns the bytes of a server's frame."""
    size = len(payload)
    if size < 126:
        head = bytes([fin << 7 | opcode, size])
    elif size < 1 << 16:
        head = struct.pack(">BBH", fin << 7 | opcode, 126, size)
    else:
        head = struct.pack(">BBQ", fin << 7 | opcode, 127, size)
    return head + payload


def server_context(folder, name, least, newest, ciphers):
    """Returns a TLS context with this certificate, for the versions from `least` to `newest`, in LuaSec's words."""
    versions = {version.name.lower(): version for version in ssl.TLSVersion}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Some versions of Python set this, and then do not tell a stream that was cut off from one that has ended.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if versions[least] < ssl.TLSVersion.TLSv1_2:
        ciphers = ciphers or "ALL:@SECLEVEL=0"  # otherwise OpenSSL 3 disables these versions as insecure
    if ciphers:
        context.set_ciphers(ciphers)
    context.minimum_version, context.maximum_version = versions[least], versions[newest]
    path = os.path.join(folder, name)
    key = path + ".key"
    context.load_cert_chain(path + ".pem", key if os.path.exists(key) else os.path.join(folder, "server.key"))
    context.num_tickets = 0  # a client that closes before it has read them would cause a reset
    return context


class Player(threading.Thread):
    """One connection: plays the steps and records what comes. The record's fields change under `script.changed`."""

    certificates = None  # the folder with NAME.pem and NAME.key

    def __init__(self, script, sock):
        super().__init__(daemon=True)
        self.script, self.sock = script, sock
        self.began = time.monotonic()
        self.until = None  # the deadline of the current step; None: no deadline
        self.taken = 0  # how many bytes of `raw` steps have waited for
        self.frames_from = None  # where frames begin in `raw`; None: no step has said so
        self.raw, self.heads, self.sent, self.step, self.ended = bytearray(), [], 0, (0, "start"), False
        self.eof = self.reset = self.close_notify = self.error = None
        self.sni = self.alpn = self.version = self.cipher = self.client = None  # from TLS

    def run(self):
        try:
            for number, (name, options) in self.script.steps:
                with self.script.changed:
                    self.step, self.until = (number, name), time.monotonic() + self.script.deadline
                    self.script.changed.notify_all()
                getattr(self, "step_" + name)(**options)
            if self.sock.fileno() >= 0:
                self.until = time.monotonic() + self.script.deadline
                self.step_close()
        except (Failure, OSError) as error:
            what = "the deadline passed" if isinstance(error, TimeoutError) else error
            self.error = f"step {self.step[0]} ({self.step[1]}): {what}"
        finally:
            self.sock.close()
            with self.script.changed:
                self.ended = True
                self.script.changed.notify_all()

    # Waiting and moving bytes

    def left(self):
        """Returns the seconds that the step has left; None if it has no deadline."""
        if self.script.closing.is_set():
            raise Failure("the spec closed the peer")
        if self.until is None:
            return None
        left = self.until - time.monotonic()
        if left <= 0:
            raise Failure("the deadline passed")
        return left

    def receive(self, seconds=None):
        """Adds the next bytes to the record. Returns False once the peer has ended or reset the stream."""
        data = b""
        if self.eof is None and self.reset is None:
            left = self.left()
            self.sock.settimeout(left if seconds is None else seconds)
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                self.reset = time.monotonic() - self.began
                return False
            except ssl.SSLError as error:
                # Not every version of Python has an exception of its own for this.
                if not isinstance(error, ssl.SSLEOFError) and error.reason != "UNEXPECTED_EOF_WHILE_READING":
                    raise
                self.close_notify = False
            if not data:
                self.left()  # raises an error if the spec has ended the stream
                self.eof = time.monotonic() - self.began
                if self.close_notify is None and isinstance(self.sock, ssl.SSLSocket):
                    self.close_notify = True
        with self.script.changed:
            self.raw += data
        return bool(data)

    def await_more(self):
        if not self.receive():
            raise Failure("the peer reset the connection" if self.reset else "the peer ended the stream")

    def write(self, data):
        view = memoryview(data)
        while view:
            self.sock.settimeout(self.left())
            count = self.sock.send(view)
            self.sent, view = self.sent + count, view[count:]

    def pause(self, seconds):
        left = self.left()
        self.script.closing.wait(seconds if left is None else min(seconds, left))
        self.left()

    def notify_close(self):
        """Sends a close_notify. The answer to it is read like anything else, or not at all."""
        self.sock.settimeout(0)
        try:
            self.sock.unwrap()
        except (OSError, ValueError):  # includes WANT_READ: sent, and not waited for
            pass

    def end_writing(self):
        # The base class's method, because SSLSocket's own discards its TLS state, in which unread bytes may wait.
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def drain(self):
        """Ends the stream below TLS and waits for the peer to end it, too: a RST could overtake the alert."""
        try:
            self.end_writing()
            while socket.socket.recv(self.sock, 1 << 16):
                self.sock.settimeout(self.left())
        except OSError:
            pass  # the earlier error matters more

    # The steps

    def step_tls(self, certificate: bytes = b"server", clients: bytes = b"", authority: bytes = b"ca",
                 least: bytes = b"tlsv1_2", newest: bytes = b"tlsv1_3", alpn: bytes = b"http/1.1",
                 ciphers: bytes = b"", curve: bytes = b""):
        """Does the TLS handshake. Everything after it is inside TLS."""
        context = server_context(
            self.certificates, certificate.decode(), least.decode(), newest.decode(), ciphers.decode())
        if b"@SECLEVEL=0" in ciphers:
            context.load_dh_params(os.path.join(self.certificates, "dh1024.pem"))
        if curve:
            context.set_ecdh_curve(curve.decode())
        if clients:
            context.verify_mode = {b"required": ssl.CERT_REQUIRED, b"optional": ssl.CERT_OPTIONAL}[clients]
            context.load_verify_locations(os.path.join(self.certificates, authority.decode() + ".pem"))
        if alpn:
            context.set_alpn_protocols(alpn.decode().split(","))
        context.sni_callback = lambda _sock, name, _context: setattr(self, "sni", name)
        self.sock = context.wrap_socket(
            self.sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)
        self.sock.settimeout(self.left())
        try:
            self.sock.do_handshake()
        except ssl.SSLError:
            self.drain()
            raise
        self.alpn, self.version = self.sock.selected_alpn_protocol(), self.sock.version().replace(".", "_").lower()
        self.cipher = self.sock.cipher()[0]
        if certificate := self.sock.getpeercert():
            self.client = ",".join(f"{name}={value}" for pairs in certificate["subject"] for name, value in pairs)

    def step_read_until(self, end: bytes):
        while (at := self.raw.find(end, self.taken)) < 0:
            self.await_more()
        self.taken = at + len(end)

    def step_request(self):
        """Waits for a request's head and records it. What follows is treated as frames."""
        start = self.taken
        self.step_read_until(b"\r\n\r\n")
        with self.script.changed:
            self.heads.append(self.raw[start:self.taken])
            self.frames_from = self.taken

    def step_upgrade(self, response: bytes, tail: bytes = b"", pieces: int = 0, interval: float = 0.002):
        """Reads a request and sends a response, by default in one write. `{accept}` in it stands for the right hash."""
        self.step_request()
        for line in self.heads[-1].split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                accept = base64.b64encode(hashlib.sha1(value.strip() + GUID).digest())
                break
        else:
            raise Failure("the request has no Sec-WebSocket-Key")
        data = response.replace(b"{accept}", accept) + tail
        self.step_pieces(data, pieces or len(data), interval)

    def step_send(self, data: bytes, times: int = 1):
        for _ in range(times):
            self.write(data)

    def step_pieces(self, data: bytes, size: int, interval: float = 0.002):
        for at in range(0, len(data), size):
            if at:
                self.pause(interval)
            self.write(data[at:at + size])

    def step_drip(self, data: bytes, interval: float = 0.01):
        self.step_pieces(data, 1, interval)

    def step_read(self, count: int):
        while len(self.raw) < self.taken + count:
            self.await_more()
        self.taken += count

    def step_read_frame(self, count: int = 1):
        if self.frames_from is None:
            self.frames_from = self.taken
        for _ in range(count):
            while (parsed := parse_frame(self.raw, self.taken)) is None:
                self.await_more()
            self.taken = parsed[1]

    def step_echo(self, seconds: float):
        """Sends messages and pings back for this long, or until the client closes. Then closes and reads to the end."""
        end = time.monotonic() + seconds
        if self.frames_from is None:
            self.frames_from = self.taken
        opcode, payload = 8, struct.pack(">H", 1001)
        while (left := end - time.monotonic()) > 0:
            if (parsed := parse_frame(self.raw, self.taken)) is None:
                self.until = end + 1
                try:
                    if not self.receive(left):
                        return
                except TimeoutError:
                    break
                continue
            (fin, _, opcode, _, _, payload), self.taken = parsed
            if opcode == 8:
                break
            if opcode != 10:
                self.write(frame(fin, 10 if opcode == 9 else opcode, payload))
            opcode, payload = 8, struct.pack(">H", 1001)
        self.until = time.monotonic() + self.script.deadline
        self.write(frame(1, opcode, payload))
        self.step_read_to_eof()

    def step_read_to_eof(self):
        while self.receive():
            pass

    def step_sleep(self, seconds: float):
        self.pause(seconds)

    def step_wait(self):
        """Waits until the spec calls `go`. Reads nothing meanwhile, so that the peer's sends get stuck."""
        if not self.script.tickets.acquire(timeout=self.left()):
            raise Failure("the spec did not say go")
        self.left()

    def step_hold(self):
        """Keeps the connection open and reads until the peer ends it, without a deadline."""
        self.until = None
        self.step_read_to_eof()

    def step_shutdown(self, notify: bool = True):
        """Ends our half of the stream; the other half can still be read."""
        if notify and isinstance(self.sock, ssl.SSLSocket):
            self.notify_close()
        self.end_writing()

    def step_close(self, notify: bool = True):
        """Ends the stream with a FIN. What has already come is read first: closing on unread bytes sends a RST."""
        self.sock.settimeout(0)
        try:
            while data := self.sock.recv(1 << 16):
                self.raw += data
        except (OSError, ValueError):
            pass
        if notify and isinstance(self.sock, ssl.SSLSocket):
            self.notify_close()
        self.sock.close()

    def step_reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def report(self):
        """Returns the record as the lines of an answer, each a tuple of words."""
        yield ("step", *self.step)
        yield ("ended", int(self.ended))
        yield ("sent", self.sent)
        yield ("raw", self.raw)
        yield from (("head", head) for head in self.heads)
        at = self.frames_from
        while at is not None and (parsed := parse_frame(self.raw, at)):
            words, at = parsed
            yield ("frame", *words)
        if at is not None:
            yield ("rest", self.raw[at:])
        for name in ("eof", "reset"):
            if (value := getattr(self, name)) is not None:
                yield (name, f"{value:.6f}")
        if self.close_notify is not None:
            yield ("close_notify", int(self.close_notify))
        for name in ("sni", "alpn", "version", "cipher", "client", "error"):
            if value := getattr(self, name):
                yield (name, value.encode())
