#!/usr/bin/env python3
"""The interop server on python-socketio: it does what socketio_server.js does, as far as it can."""

import argparse
import asyncio
import os
import sys

import socketio
from aiohttp import web


def serve(io, nsp):
    @io.on("connect", namespace=nsp)
    async def connect(sid, environ, auth):
        if (auth or {}).get("token") == "bad":
            raise socketio.exceptions.ConnectionRefusedError("no", {"code": 1})
        await io.emit("auth", auth, to=sid, namespace=nsp)

    @io.on("message", namespace=nsp)
    async def message(sid, *args):
        await io.emit("message-back", args, to=sid, namespace=nsp)

    @io.on("message-with-ack", namespace=nsp)
    async def message_with_ack(sid, *args):
        return args

    @io.on("ask", namespace=nsp)
    async def ask(sid):
        async def answered(*answer):
            await io.emit("answered", answer, to=sid, namespace=nsp)

        await io.emit("question", 1, to=sid, namespace=nsp, callback=answered)

    @io.on("burst", namespace=nsp)
    async def burst(sid, count):
        for i in range(1, count + 1):
            await io.emit("item", i, to=sid, namespace=nsp)

    @io.on("join", namespace=nsp)
    async def join(sid, room):
        await io.enter_room(sid, room, namespace=nsp)

    @io.on("tell", namespace=nsp)
    async def tell(sid, room, *args):
        await io.emit("told", args, room=room, skip_sid=sid, namespace=nsp)

    @io.on("leave", namespace=nsp)
    async def leave(sid):
        await io.disconnect(sid, namespace=nsp)


async def main():
    parser = argparse.ArgumentParser()
    for name in "ready", "cert", "key":
        parser.add_argument("--" + name)
    ready = parser.parse_args().ready
    io = socketio.AsyncServer(async_mode="aiohttp")
    serve(io, "/")
    serve(io, "/custom")
    app = web.Application()
    io.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    with open(ready + ".new", "w") as file:
        file.write(f"io {port}\n")
    os.rename(ready + ".new", ready)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
