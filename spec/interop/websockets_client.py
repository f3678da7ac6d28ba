"""A client of another author (Python's websockets) for a server that echoes: websockets_client.py CAFILE URL...

Does with each URL what ws_client.js does, and prints the same lines: each says what came back as it should.
"""

import hashlib
import ssl
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

CAFILE, *URLS = sys.argv[1:]
PATIENCE = 10  # seconds
MESSAGES = ["", "Hello", "\N{GREEK SMALL LETTER KAPPA}" * 1000, b"", bytes(range(256)) * 4000,
            *("x" * length for length in (125, 126, 65535, 65536))]


def session(url):
    options = {"max_size": 1 << 24, "source_address": ("127.0.0.2", 0)}
    if url.startswith("wss"):
        options["ssl"] = ssl.create_default_context(cafile=CAFILE)
    for compression in ("deflate", None):
        with connect(url + "echo", subprotocols=["chat", "echo"], compression=compression, **options) as socket:
            extensions = [extension.name for extension in socket.protocol.extensions]
            print("open", socket.subprotocol, *extensions)
            for message in MESSAGES:
                socket.send(message)
                assert socket.recv(timeout=PATIENCE) == message
            print("messages")
            socket.send(["frag", "men", "ted"])
            assert socket.recv(timeout=PATIENCE) == "fragmented"
            assert socket.ping(b"ping").wait(PATIENCE)
            print("fragments, and a pong")
            socket.close(4001, "bye")
        print("closed", socket.protocol.close_rcvd.code)
    with connect(url + "many", **options) as socket:
        # All that the server sends, while this end sends nothing; and its order.
        digest = hashlib.sha256()
        for count in range(1000):
            data = socket.recv(timeout=PATIENCE)
            assert int(data[:4]) == count
            digest.update(data)
        print("many", digest.hexdigest()[:8])
        try:
            socket.recv(timeout=PATIENCE)
        except ConnectionClosed as error:
            print("the server closes", error.rcvd.code, error.rcvd.reason)
    try:
        connect(url + "secret", **options)
    except InvalidStatus as error:
        print("refused", error.response.status_code, error.response.body.decode())


for each in URLS:
    session(each)
