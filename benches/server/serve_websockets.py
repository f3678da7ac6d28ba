#!/usr/bin/env python3
"""The server on Python's `websockets` that run.py measures: prints its port, and echoes until its input ends."""

import asyncio
import logging
import sys

from websockets.asyncio.server import serve


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=1024) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


logging.disable()  # it tells of each client that ends without a close frame
asyncio.run(main())
