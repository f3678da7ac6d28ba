#!/usr/bin/env python3
"""WebSocket servers on OpenSSL itself (libssl, with ctypes), with control over its records and over the bytes sent.

Python's ssl module has no key updates, no renegotiation and no tickets in mid-stream, and it always sends whole
records. Here OpenSSL works on buffers: its output is kept until a step pushes it out, in any pieces.

The path of the request is the script: `/step/step=argument,argument/...`, with bytes in hexadecimal. The steps are the
methods `Connection.step_*`; `end` follows the last of them. This file knows nothing of the specs. Of WebSocket it knows
the accept hash and the length of a frame (from scripted_player.py).

Started once per run: `openssl_server.py --ready FILE --cert PEM --key PEM`. It listens on a port for each of PORTS,
writes them to FILE as `name PORT`, and ends at the end of its standard input.
"""

import argparse
import base64
import collections
import ctypes
import ctypes.util
import hashlib
import os
import socket
import struct
import sys
import threading
import time

from scripted_player import GUID, parse_frame

PATIENCE = 20.0  # seconds that a client may be silent

TLS12, TLS13 = 0x0303, 0x0304

# The properties of each port: TLS version (0: any), whether the client must have a certificate, the size of the
# segments and the seconds between them, and after how many bytes of its own it falls silent or ends the stream.
Port = collections.namedtuple(
    "Port", "version mutual piece interval limit ends", defaults=(0, False, 0, 0, None, False))
PORTS = {
    "tls": Port(),
    "tls12": Port(TLS12),
    "tls13": Port(TLS13),
    "bytes12": Port(TLS12, piece=1),
    "bytes13": Port(TLS13, piece=1),
    "mutual12": Port(TLS12, mutual=True),
    "mutual13": Port(TLS13, mutual=True),
    "drip12": Port(TLS12, piece=1, interval=0.01),
    "drip13": Port(TLS13, piece=1, interval=0.01),
    # In TLS 1.2 the certificate begins about 80 bytes after the beginning; in TLS 1.3 it is encrypted, after byte 140.
    "hello12": Port(TLS12, limit=40),
    "hello13": Port(TLS13, limit=40),
    "certificate12": Port(TLS12, limit=300),
    "certificate13": Port(TLS13, limit=300),
    "end_hello": Port(limit=40, ends=True),
    "end_certificate": Port(limit=300, ends=True),
}

# libssl's constants, from its headers.
FILETYPE_PEM, VERIFY_REQUIRED = 1, 1 | 2
SSL_CTRL_MODE, MODE_AUTO_RETRY = 33, 4
CTRL_MIN_VERSION, CTRL_MAX_VERSION = 123, 124
NO_RESUMPTION_ON_RENEGOTIATION = 1 << 16
WANT_READ, ZERO_RETURN = 2, 6
HANDSHAKE, CLIENT_HELLO, KEY_UPDATE = 22, 1, 24

MESSAGE_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t,
                                    ctypes.c_void_p, ctypes.c_void_p)


def library():
    """Returns libssl with the signatures of the functions used here, so that pointers are not treated as ints."""
    pointer, integer, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    ssl = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
    for name, result, *arguments in (
        ("TLS_server_method", pointer),
        ("SSL_CTX_new", pointer, pointer),
        ("SSL_CTX_ctrl", ctypes.c_long, pointer, integer, ctypes.c_long, pointer),
        ("SSL_CTX_use_certificate_chain_file", integer, pointer, ctypes.c_char_p),
        ("SSL_CTX_use_PrivateKey_file", integer, pointer, ctypes.c_char_p, integer),
        ("SSL_CTX_set_verify", None, pointer, integer, pointer),
        ("SSL_use_certificate_chain_file", integer, pointer, ctypes.c_char_p),
        ("SSL_use_PrivateKey_file", integer, pointer, ctypes.c_char_p, integer),
        ("SSL_set_options", ctypes.c_uint64, pointer, ctypes.c_uint64),
        ("SSL_new", pointer, pointer),
        ("SSL_free", None, pointer),
        ("SSL_set_bio", None, pointer, pointer, pointer),
        ("SSL_set_accept_state", None, pointer),
        ("SSL_set_msg_callback", None, pointer, MESSAGE_CALLBACK),
        ("SSL_do_handshake", integer, pointer),
        ("SSL_read", integer, pointer, pointer, integer),
        ("SSL_write", integer, pointer, ctypes.c_char_p, integer),
        ("SSL_get_error", integer, pointer, integer),
        ("SSL_shutdown", integer, pointer),
        ("SSL_key_update", integer, pointer, integer),
        ("SSL_renegotiate", integer, pointer),
        ("SSL_renegotiate_pending", integer, pointer),
        ("SSL_in_init", integer, pointer),
        ("SSL_new_session_ticket", integer, pointer),
        ("SSL_get_version", ctypes.c_char_p, pointer),
        ("BIO_s_mem", pointer),
        ("BIO_new", pointer, pointer),
        ("BIO_ctrl_pending", size, pointer),
        ("BIO_read", integer, pointer, pointer, integer),
        ("BIO_write", integer, pointer, ctypes.c_char_p, integer),
        ("ERR_clear_error", None),
    ):
        function = getattr(ssl, name)
        function.restype, function.argtypes = result, arguments
    return ssl


SSL = library()


class Failure(Exception):
    """The connection cannot go on."""


class Connection(threading.Thread):
    """One connection: the handshake, the request, and the steps in its path."""

    certificates = None  # the folder with NAME.pem and NAME.key

    def __init__(self, port, context, sock):
        super().__init__(daemon=True)
        self.port, self.sock = port, sock
        self.kept = bytearray()  # ciphertext that no step has pushed yet
        self.left = port.limit  # bytes that may still leave
        self.plain = bytearray()  # plaintext from the client that no step has taken yet
        self.messages = collections.Counter()  # the client's handshake messages by type
        self.buffer = ctypes.create_string_buffer(1 << 14)
        self.incoming, self.outgoing = SSL.BIO_new(SSL.BIO_s_mem()), SSL.BIO_new(SSL.BIO_s_mem())
        self.ssl = SSL.SSL_new(context)
        SSL.SSL_set_bio(self.ssl, self.incoming, self.outgoing)
        SSL.SSL_set_accept_state(self.ssl)
        self.callback = MESSAGE_CALLBACK(self.note)
        SSL.SSL_set_msg_callback(self.ssl, self.callback)

    def note(self, sent, _version, kind, data, length, _ssl, _argument):
        if not sent and kind == HANDSHAKE and length:
            self.messages[ctypes.cast(data, ctypes.POINTER(ctypes.c_ubyte))[0]] += 1

    def run(self):
        try:
            self.sock.settimeout(PATIENCE)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.succeed(lambda: SSL.SSL_do_handshake(self.ssl))
            self.step_push()
            while b"\r\n\r\n" not in self.plain:
                self.read()
            head, _, self.plain = self.plain.partition(b"\r\n\r\n")
            script, *self.headers = head.split(b"\r\n")
            for step in script.split()[1].decode().strip("/").split("/"):
                name, _, arguments = step.partition("=")
                getattr(self, "step_" + name)(*filter(None, arguments.split(",")))
            self.step_end()
        except (Failure, OSError):
            pass  # what matters is the client's reaction
        finally:
            self.sock.close()
            SSL.SSL_free(self.ssl)

    # OpenSSL and its buffers

    def succeed(self, operation):
        """Runs an OpenSSL operation until it has a result, and supplies what it wants to read. What it wants to write
        is sent, unless earlier output still waits for a step to push it."""
        held = bool(self.kept)
        while True:
            SSL.ERR_clear_error()
            result = operation()
            self.keep()
            if result > 0:
                return result
            error = SSL.SSL_get_error(self.ssl, result)
            if error != WANT_READ:
                self.step_push()  # the alert
                self.end_writing()
                raise Failure(error)
            if not held:
                self.step_push()
            data = self.sock.recv(1 << 16)
            if not data:
                raise Failure("the client has gone")
            SSL.BIO_write(self.incoming, data, len(data))

    def keep(self):
        """Keeps what OpenSSL wants to send."""
        while SSL.BIO_ctrl_pending(self.outgoing):
            self.kept += self.buffer[:SSL.BIO_read(self.outgoing, self.buffer, len(self.buffer))]

    def read(self):
        count = self.succeed(lambda: SSL.SSL_read(self.ssl, self.buffer, len(self.buffer)))
        self.plain += self.buffer[:count]

    def transmit(self, data):
        if self.left is not None:
            data = data[:self.left]
            self.left -= len(data)
        piece = self.port.piece or max(1, len(data))
        for at in range(0, len(data), piece):
            if at and self.port.interval:
                time.sleep(self.port.interval)
            self.sock.sendall(data[at:at + piece])
        if self.left == 0:
            if self.port.ends:
                self.end_writing()
            self.step_hold()

    def end_writing(self):
        """Ends our half of the stream, and reads until the client's end, so that no reset discards data under way."""
        self.sock.shutdown(socket.SHUT_WR)
        self.step_hold()

    # The steps

    def step_upgrade(self):
        """Pushes the response to the request."""
        for line in self.headers:
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                accept = base64.b64encode(hashlib.sha1(bytes(value.strip()) + GUID).digest())
        self.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        self.step_push()

    def write(self, data):
        self.succeed(lambda: SSL.SSL_write(self.ssl, data, len(data)))

    def step_seal(self, data, times="1"):
        """Makes this into a record, `times` times, and keeps the records."""
        for _ in range(int(times)):
            self.write(bytes.fromhex(data))

    def step_push(self, count=None):
        """Sends `count` of the kept bytes, by default all of them; if negative, all but that many."""
        data = self.kept[:None if count is None else int(count)]
        del self.kept[:len(data)]
        self.transmit(data)

    def step_drop(self):
        """Discards what is kept."""
        self.kept.clear()

    def step_raw(self, data):
        """Sends bytes around OpenSSL."""
        self.transmit(bytes.fromhex(data))

    def step_inject(self, data):
        """Passes this to OpenSSL as if the client had sent it, which can make it send an alert."""
        data = bytes.fromhex(data)
        SSL.BIO_write(self.incoming, data, len(data))
        while True:
            self.read()

    def step_peek(self):
        """Waits until something from the client can be read."""
        self.sock.recv(1, socket.MSG_PEEK)

    def step_frame(self):
        """Waits for a frame from the client, and returns it."""
        while (parsed := parse_frame(self.plain, 0)) is None:
            self.read()
        frame, length = parsed
        del self.plain[:length]
        return frame

    def step_echo(self, count="-1"):
        """Answers `count` frames, by default all: sends messages and close frames back, and ignores pings."""
        left = int(count)
        while left:
            _fin, _rsv, opcode, _masked, _key, payload = self.step_frame()
            size = len(payload)
            length = bytes([size]) if size < 126 else struct.pack(">BH", 126, size) if size < 65536 \
                else struct.pack(">BQ", 127, size)
            self.write(bytes([128 + opcode]) + length + payload)
            self.step_push()
            if opcode == 8:
                return
            left -= 1

    def step_update(self, wanted="0", times="1"):
        """Makes and keeps key updates; if `wanted` is 1, they ask the client for one, too."""
        for _ in range(int(times)):
            SSL.SSL_key_update(self.ssl, int(wanted))
            self.succeed(lambda: SSL.SSL_do_handshake(self.ssl))

    def step_ticket(self):
        """Makes and keeps a session ticket."""
        SSL.SSL_new_session_ticket(self.ssl)
        self.succeed(lambda: SSL.SSL_do_handshake(self.ssl))

    def step_renegotiate(self):
        """Makes and keeps a request for another handshake (TLS 1.2)."""
        SSL.SSL_renegotiate(self.ssl)
        self.succeed(lambda: SSL.SSL_do_handshake(self.ssl))

    def step_handshake(self):
        """Waits until the handshake is complete whose request was pushed."""
        while SSL.SSL_renegotiate_pending(self.ssl) and not SSL.SSL_in_init(self.ssl):
            if not (data := self.sock.recv(1 << 16)):
                raise Failure("the client has gone")
            SSL.BIO_write(self.incoming, data, len(data))
            count = SSL.SSL_read(self.ssl, self.buffer, len(self.buffer))
            self.plain += self.buffer[:max(0, count)]
        self.keep()
        self.step_push()
        self.succeed(lambda: SSL.SSL_do_handshake(self.ssl))

    def step_certificate(self, name):
        """Uses another certificate from the next handshake on. One without a key of its own has the server's."""
        path, key = (os.path.join(self.certificates, file) for file in (bytes.fromhex(name).decode(), "server.key"))
        if os.path.exists(path + ".key"):
            key = path + ".key"
        if SSL.SSL_use_certificate_chain_file(self.ssl, (path + ".pem").encode()) != 1 \
                or SSL.SSL_use_PrivateKey_file(self.ssl, key.encode(), FILETYPE_PEM) != 1:
            raise Failure(f"{path} is of no use")
        # A session that the client resumes would have the old one.
        SSL.SSL_set_options(self.ssl, NO_RESUMPTION_ON_RENEGOTIATION)

    def step_tell(self):
        """Pushes a text message: the TLS version, and how many handshakes and key updates the client has begun."""
        text = b"%s %d %d" % (SSL.SSL_get_version(self.ssl), self.messages[CLIENT_HELLO], self.messages[KEY_UPDATE])
        self.write(bytes([129, len(text)]) + text)
        self.step_push()

    def step_goodbye(self):
        """Pushes a close_notify."""
        SSL.ERR_clear_error()
        SSL.SSL_shutdown(self.ssl)
        self.keep()
        self.step_push()

    def step_cut(self):
        """Ends the stream without a close_notify."""
        self.end_writing()
        raise Failure("that was the script")

    def step_end(self):
        self.step_goodbye()
        self.step_cut()

    def step_reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Failure("that was the script")

    def step_hold(self):
        """Reads until the client ends the stream, and sends nothing."""
        while self.sock.recv(1 << 16):
            pass
        raise Failure("the client has gone")


def context(port, certificate, key):
    """Returns the SSL_CTX of a port."""
    result = SSL.SSL_CTX_new(SSL.TLS_server_method())
    SSL.SSL_CTX_ctrl(result, CTRL_MIN_VERSION, port.version, None)
    SSL.SSL_CTX_ctrl(result, CTRL_MAX_VERSION, port.version, None)
    SSL.SSL_CTX_ctrl(result, SSL_CTRL_MODE, MODE_AUTO_RETRY, None)
    if SSL.SSL_CTX_use_certificate_chain_file(result, certificate.encode()) != 1 \
            or SSL.SSL_CTX_use_PrivateKey_file(result, key.encode(), FILETYPE_PEM) != 1:
        sys.exit(f"openssl_server.py: {certificate} and {key} are of no use")
    if port.mutual:
        SSL.SSL_CTX_set_verify(result, VERIFY_REQUIRED, None)
    return result


def serve(port, made, listener):
    while True:
        sock, _ = listener.accept()
        Connection(port, made, sock).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--ready", required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    Connection.certificates = os.path.dirname(arguments.cert)
    lines = []
    for name, port in PORTS.items():
        listener = socket.create_server(("127.0.0.1", 0))
        made = context(port, arguments.cert, arguments.key)
        threading.Thread(target=serve, args=(port, made, listener), daemon=True).start()
        lines.append(f"{name} {listener.getsockname()[1]}\n")
    with open(arguments.ready + ".new", "w", encoding="ascii") as ready:
        ready.write("".join(lines))
    os.replace(arguments.ready + ".new", arguments.ready)
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for connections


if __name__ == "__main__":
    main()
