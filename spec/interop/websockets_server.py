#!/usr/bin/env python3
"""The interop server on Python's `websockets`: a peer that shares no code with luws, over ws and wss.

`websockets_server.py --ready FILE --cert PEM --key PEM` listens on free loopback ports, writes `ws PORT` and `wss PORT`
to FILE and ends at the end of its standard input. It checks nothing: what is right is for the specs to say. It has the
same paths as ws_server.js, which lacks only /private (any other is 404):

    /echo                   each message back, with its own type
    /fragments              each message back in three fragments or four, cut without regard to characters
    /ping                   a ping `are you there`, and after its pong the text `pong received`
    /close?code=C&reason=R  closes with these at once
    /subprotocol            takes the subprotocol `chat` if it is offered, and sends the name of what was taken
    /big?size=N             one binary message of N bytes; byte i (from 0) is i modulo 251
    /headers                the request's headers as one text of JSON, names in lower case
    /private                like /headers, for the user `me` with the password `secret` (Basic)
    /slow                   like /echo, after 0.3 s in which the upgrade is not answered
"""

import argparse
import asyncio
import json
import logging
import os
import ssl
import sys
import threading
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import basic_auth, serve
from websockets.exceptions import ConnectionClosed

MAX_SIZE = 64 << 20  # bytes in a message


def query(connection):
    return {name: values[0] for name, values in parse_qs(urlsplit(connection.request.path).query).items()}


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def fragments(connection):
    async for message in connection:
        text = isinstance(message, str)
        data = message.encode() if text else message
        third = len(data) // 3 + 1
        await connection.send([data[at:at + third] for at in (0, third, 2 * third)], text=text)


async def ping(connection):
    await (await connection.ping("are you there"))
    await connection.send("pong received")
    await connection.wait_closed()


async def close(connection):
    wanted = query(connection)
    await connection.close(int(wanted.get("code", 1000)), wanted.get("reason", ""))


async def subprotocol(connection):
    await connection.send(connection.subprotocol or "")
    await connection.wait_closed()


async def big(connection):
    size = int(query(connection)["size"])
    await connection.send((bytes(range(251)) * (size // 251 + 1))[:size])
    await connection.wait_closed()


async def headers(connection):
    seen = {}
    for name, value in connection.request.headers.raw_items():
        name = name.lower()
        seen[name] = f"{seen[name]}, {value}" if name in seen else value
    await connection.send(json.dumps(seen, separators=(",", ":"), ensure_ascii=False))
    await connection.wait_closed()


PATHS = {
    "/echo": echo, "/fragments": fragments, "/ping": ping, "/close": close, "/subprotocol": subprotocol, "/big": big,
    "/headers": headers, "/private": headers, "/slow": echo,
}

check_user = basic_auth(realm="luws", credentials=("me", "secret"))


async def check_path(connection, request):
    path = urlsplit(request.path).path
    if path == "/slow":
        await asyncio.sleep(0.3)
    if path == "/private":
        return await check_user(connection, request)
    return None if path in PATHS else connection.respond(404, "no such path\n")


def choose_subprotocol(connection, offered):
    wanted = urlsplit(connection.request.path).path == "/subprotocol" and "chat" in offered
    return "chat" if wanted else None


async def play(connection):
    try:
        await PATHS[urlsplit(connection.request.path).path](connection)
    except ConnectionClosed:
        pass  # the client's right at any time


async def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("--ready", "--cert", "--key"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # specs break connections on purpose
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(arguments.cert, arguments.key)
    lines = []
    for scheme, context in (("ws", None), ("wss", tls)):
        server = await serve(
            play, "127.0.0.1", 0, ssl=context, max_size=MAX_SIZE, compression="deflate",
            process_request=check_path, select_subprotocol=choose_subprotocol)
        lines.append(f"{scheme} {server.sockets[0].getsockname()[1]}\n")
    with open(arguments.ready + ".new", "w", encoding="ascii") as ready:
        ready.writelines(lines)
    os.replace(arguments.ready + ".new", arguments.ready)
    await asyncio.Event().wait()


def end_with_stdin():
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for connections


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    asyncio.run(main())
