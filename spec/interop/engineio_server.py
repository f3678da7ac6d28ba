"""The interop server on python-engineio, which does what engineio_server.js does."""

import argparse
import asyncio
import os
import sys

import engineio
from aiohttp import web

parser = argparse.ArgumentParser()
parser.add_argument("--ready")
READY = parser.parse_known_args()[0].ready

# It announces the interval in whole seconds.
engine = engineio.AsyncServer(async_mode="aiohttp", ping_interval=1, ping_timeout=5)


@engine.on("message")
async def message(sid, data):
    if data == "burst":
        for i in range(50):
            await engine.send(sid, f"burst {i}")
    elif data == "close":
        await engine.disconnect(sid)
    else:
        await engine.send(sid, data)


async def main():
    app = web.Application()
    engine.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    with open(READY + ".new", "w", encoding="ascii") as file:
        print("http", runner.addresses[0][1], file=file)
    os.rename(READY + ".new", READY)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
