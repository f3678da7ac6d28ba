"""A client of another author (Python's websockets) for a server that echoes: websockets_client.py URL DEFLATE

Prints a line for each thing that came back as it should.
"""

import sys

from websockets.sync.client import connect

URL, DEFLATE = sys.argv[1], sys.argv[2] == "deflate"


def main():
    options = {"compression": "deflate" if DEFLATE else None, "max_size": 1 << 24}
    with connect(URL, subprotocols=["chat", "echo"], **options) as socket:
        print("subprotocol", socket.subprotocol)
        print("extensions", [extension.name for extension in socket.protocol.extensions])
        for message in ["", "Hello", "\N{GREEK SMALL LETTER KAPPA}" * 1000, b"", bytes(range(256)) * 4000]:
            socket.send(message)
            assert socket.recv(timeout=10) == message
        print("messages")
        socket.send(["frag", "men", "ted"])
        assert socket.recv(timeout=10) == "fragmented"
        print("fragments")
        assert socket.ping(b"ping").wait(10)
        print("ping")
        socket.close(4001, "bye")
    print("closed", socket.protocol.close_rcvd.code)
    with connect(URL + "close", **options) as socket:
        try:
            socket.recv(timeout=10)
        except Exception as error:
            print("server", error.rcvd.code, error.rcvd.reason)


main()
