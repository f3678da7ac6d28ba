#!/usr/bin/env node
// A client of another author (npm's ws) for a server that echoes: ws_client.js CAFILE URL...
//
// Does with each URL what websockets_client.py does, and prints the same lines.
"use strict";

const assert = require("node:assert");
const crypto = require("node:crypto");
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

// Packages are installed where builds go, not beside the sources.
const WebSocket = createRequire(path.join(__dirname, "../../build/interop/"))("ws");

const [cafile, ...urls] = process.argv.slice(2);
const MESSAGES = [
  "", "Hello", "κ".repeat(1000), Buffer.alloc(0), Buffer.alloc(1024000, Uint8Array.from({ length: 256 }, (_, i) => i)),
  ...[125, 126, 65535, 65536].map((length) => "x".repeat(length)),
];

async function session(url) {
  const options = { localAddress: "127.0.0.2", family: 4, ca: fs.readFileSync(cafile) };
  const open = async (where, protocols, more) => {
    const socket = new WebSocket(url + where, protocols, { ...options, ...more });
    socket.closed = once(socket, "close");
    await once(socket, "open");
    return socket;
  };
  const next = async (socket) => {
    const [data, isBinary] = await once(socket, "message");
    return isBinary ? data : data.toString();
  };
  for (const perMessageDeflate of [true, false]) {
    const socket = await open("echo", ["chat", "echo"], { perMessageDeflate });
    console.log(["open", socket.protocol, ...Object.keys(socket._extensions)].join(" "));
    for (const message of MESSAGES) {
      socket.send(message);
      assert.deepStrictEqual(await next(socket), message);
    }
    console.log("messages");
    for (const [i, part] of ["frag", "men", "ted"].entries()) socket.send(part, { fin: i === 2 });
    assert.strictEqual(await next(socket), "fragmented");
    socket.ping("ping");
    const [data] = await once(socket, "pong");
    assert.strictEqual(data.toString(), "ping");
    console.log("fragments, and a pong");
    socket.close(4001, "bye");
    const [code] = await socket.closed;
    console.log("closed", code);
  }
  const many = await open("many");
  const digest = crypto.createHash("sha256");
  let count = 0;
  many.on("message", (data) => {
    assert.strictEqual(Number(data.subarray(0, 4).toString()), count++);
    digest.update(data);
  });
  const [code, reason] = await many.closed;
  console.log("many", digest.digest("hex").slice(0, 8));
  console.log("the server closes", code, reason.toString());
  const refused = new WebSocket(url + "secret", options);
  const [, response] = await once(refused, "unexpected-response");
  let body = "";
  for await (const data of response) body += data;
  console.log("refused", response.statusCode, body);
}

(async () => {
  for (const url of urls) await session(url);
  process.exit(); // the connections of refused requests are kept for more of them
})();
