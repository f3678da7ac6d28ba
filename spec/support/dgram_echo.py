#!/usr/bin/env python3
"""A datagram socket of the unix domain that sends back what it gets: LuaSocket cannot send to an address that the
system has chosen.

Started as `dgram_echo.py PATH`. An empty datagram ends it.
"""

import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
    own.bind(sys.argv[1])
    print("ready", flush=True)
    while True:
        data, peer = own.recvfrom(1 << 20)
        own.sendto(data, peer)
        if not data:
            break
