"""Clients of python-engineio for a server that sends messages back: engineio_client.py URL.

Does what engineio_client.js does, with revision 4 of the protocol, and prints the same lines.
"""

import asyncio
import os
import sys

import engineio

URL = sys.argv[1]
MESSAGES = ["hello", "\N{GREEK SMALL LETTER KAPPA}\N{GRINNING FACE}", bytes([0, 1, 255]), "x" * 200000, b"\7" * 70000,
            *(f"m{i}" for i in range(60))]
EXPECTED = [*MESSAGES, *(f"burst {i}" for i in range(50))]


async def session(transports):
    client, over, messages = engineio.AsyncClient(), asyncio.Event(), []
    seen = ["4 " + ",".join(transports)]

    @client.on("message")
    async def message(data):
        messages.append(data)
        if len(messages) < len(EXPECTED):
            return
        seen.append(f"{len(messages)} messages" if messages == EXPECTED else "wrong messages")
        if len(transports) == 2:
            await client.send("close")
        else:
            asyncio.get_running_loop().create_task(client.disconnect())

    @client.on("disconnect")
    async def disconnect(reason):
        seen.append(f"close {reason}")
        over.set()

    await client.connect(URL, transports=transports)
    seen.append("open")
    seen.append(client.transport())
    for data in [*MESSAGES, "burst"]:
        await client.send(data)
    await over.wait()
    return ", ".join(seen)


async def main():
    ways = [["polling"], ["websocket"], ["polling", "websocket"]]
    for line in await asyncio.gather(*(session(transports) for transports in ways)):
        print(line, flush=True)
    os._exit(0)  # without a word about what python-engineio leaves open


asyncio.run(main())
