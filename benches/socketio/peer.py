"""One end of benches/socketio/run.py, with python-socketio; peer.lua says what it does."""

import asyncio
import sys
import time

import socketio
from aiohttp import web

CHUNK = 500
TEXT = "x" * 64


async def send(left, emit):
    while left > 0:
        for _ in range(min(CHUNK, left)):
            await emit()
        left -= CHUNK
        await asyncio.sleep(0)


async def serve():
    io = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])
    used = {}

    @io.event
    async def connect(sid, environ, auth):
        used[sid] = time.process_time()

    @io.event
    async def event(sid, text):
        pass

    @io.event
    async def done(sid):
        now = time.process_time()
        since, used[sid] = now - used[sid], now
        return since

    @io.event
    async def go(sid, count):
        await send(count, lambda: io.emit("event", TEXT, to=sid))
        await io.emit("done", to=sid)

    app = web.Application()
    io.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def ask(url, count):
    io = socketio.AsyncClient()
    finished = asyncio.Event()

    @io.event
    async def event(text):
        pass

    @io.event
    async def done():
        finished.set()

    await io.connect(url, transports=["websocket"])
    await io.call("done")
    used, began = time.process_time(), time.monotonic()
    await send(count, lambda: io.emit("event", TEXT))
    of_server = await io.call("done", timeout=120)
    print(time.process_time() - used, time.monotonic() - began, of_server)
    used, began = time.process_time(), time.monotonic()
    await io.emit("go", count)
    await finished.wait()
    mine, clock = time.process_time() - used, time.monotonic() - began
    print(mine, clock, await io.call("done"), flush=True)
    await io.disconnect()


asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2], int(sys.argv[3])))
