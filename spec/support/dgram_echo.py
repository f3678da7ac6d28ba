#!/usr/bin/env python3
"""A datagram socket of the unix domain that sends back what it gets: LuaSocket cannot send to an address that the
system has chosen.

Started as `dgram_echo.py PATH`. `large N` is answered with N bytes. An empty datagram ends it.
"""

import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    own.bind(sys.argv[1])
    print("ready", flush=True)
    while True:
        data, peer = own.recvfrom(1 << 20)
        own.sendto(b"x" * int(data[6:]) if data.startswith(b"large ") else data, peer)
        if not data:
            break
