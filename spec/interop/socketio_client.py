#!/usr/bin/env python3
"""The interop client on python-socketio: it does what socketio_client.js does, and prints the same."""

import asyncio
import json
import sys

import socketio

URL, TRANSPORTS = sys.argv[1], sys.argv[2].split(",")
ARGUMENTS = (1, "2 \u00e9\U0001f600", {"list": [True, None, -1.5], "none": {}}, b"\1\2\3", {"deep": [b""]})


def shown(value):
    """What was received as text, the same in every language."""
    if isinstance(value, bytes):
        return f"<{value.hex()}>"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{shown(value[key])}" for key in sorted(value)) + "}"
    return json.dumps(value, ensure_ascii=False)


def show(what, value):
    print(what, shown(value), flush=True)


def many(answer):
    """The arguments of an answer: python-socketio makes one of one."""
    return answer if isinstance(answer, tuple) else (answer,)


class Client:
    def __init__(self):
        self.io = socketio.AsyncClient(reconnection=False)
        self.waiting = {}

    def next(self, event, handler=None):
        future = asyncio.get_running_loop().create_future()

        async def handle(*args):
            if not future.done():
                future.set_result(args)
            return handler(*args) if handler else None

        self.io.on(event, handle)
        return future

    async def connect(self, namespaces, auth):
        await self.io.connect(URL, auth=auth, transports=TRANSPORTS, namespaces=namespaces)

    async def call(self, event, *args):
        return many(await self.io.call(event, args))


async def main():
    client = Client()
    auth = client.next("auth")
    await client.connect(["/", "/custom"], {"token": "t"})
    show("auth", await auth)
    show("ack", await client.call("message-with-ack", *ARGUMENTS))
    back = client.next("message-back")
    await client.io.emit("message", ARGUMENTS)
    show("back", await back)
    client.next("question", lambda number: (number + 1, b"x"))
    answered = client.next("answered")
    await client.io.emit("ask")
    show("answered", await answered)
    items, done = [], asyncio.get_running_loop().create_future()

    async def item(number):
        items.append(number)
        if len(items) == 200:
            done.set_result(None)

    client.io.on("item", item)
    await client.io.emit("burst", 200)
    await done
    show("burst", items == list(range(1, 201)))
    acks = [await client.call("message-with-ack", number) for number in items]
    show("acks", [number for (number,) in acks] == items)
    await client.io.call("join", "room")
    second = Client()
    told = second.next("told")
    await second.connect(["/"], {"token": "t"})
    await second.io.call("join", "room")
    await client.io.emit("tell", ("room", "hello", b"y"))
    show("told", await told)
    await second.io.disconnect()
    for namespaces, token in (["/unknown"], "t"), (["/"], "bad"):
        refused = Client()
        err = asyncio.get_running_loop().create_future()

        async def connect_error(data, err=err):
            err.set_result(data)

        refused.io.on("connect_error", connect_error, namespace=namespaces[0])
        try:
            await refused.connect(namespaces, {"token": token})
        except socketio.exceptions.ConnectionError:
            pass
        data = await err
        show("refused", [data["message"], data["data"]] if "data" in data else data["message"])
    gone = asyncio.get_running_loop().create_future()

    async def disconnect(reason):
        gone.set_result(None)

    client.io.on("disconnect", disconnect)
    await client.io.emit("leave")
    await gone
    show("gone", "io server disconnect")  # python-socketio has other words for it
    await client.io.disconnect()


asyncio.run(asyncio.wait_for(main(), 20))
