#!/usr/bin/env node
// Clients of npm's `engine.io-client` for a server that sends messages back: `engineio_client.js URL`, with revisions 4
// and 3 of the protocol, and each way of transport. Prints a line for each: what it was, and what it has seen.
"use strict";

const path = require("node:path");
const { createRequire } = require("node:module");

const modules = createRequire(path.join(__dirname, "../../build/interop/"));
const Socket4 = modules("engine.io-client").Socket;
const Socket3 = createRequire(modules.resolve("socket.io-client-2/package.json"))("engine.io-client");

const [url] = process.argv.slice(2);
const MESSAGES = ["hello", "é€😀", Buffer.from([0, 1, 255]), "x".repeat(200000), Buffer.alloc(70000, 7)];
for (let i = 0; i < 60; i++) MESSAGES.push(`m${i}`);
const EXPECTED = MESSAGES.length + 50;

function session(Socket, revision, transports) {
  return new Promise((resolve) => {
    const socket = new Socket(url, { transports });
    const seen = [`${revision} ${transports}`];
    let count = 0, right = true;
    socket.binaryType = "nodebuffer";
    for (const name of ["open", "error", "upgradeError"]) socket.on(name, (error) => seen.push(name, error || ""));
    socket.on("upgrade", (transport) => seen.push(`upgrade ${transport.name}`));
    socket.on("close", (reason) => {
      seen.push(`close ${reason}`);
      resolve(seen.filter((word) => word !== "").join(", "));
    });
    socket.on("message", (data) => {
      const expected = count < MESSAGES.length ? MESSAGES[count] : `burst ${count - MESSAGES.length}`;
      right = right && typeof data === typeof expected
        && Buffer.compare(Buffer.from(data), Buffer.from(expected)) === 0;
      count += 1;
      if (count < EXPECTED) return;
      seen.push(right ? `${count} messages` : "wrong messages");
      // The end of one in three is the server's.
      if (transports.length === 2) socket.send("close"); else socket.close();
    });
    socket.on("open", () => {
      for (const message of [...MESSAGES, "burst"]) socket.send(message);
    });
  });
}

async function main() {
  for (const [Socket, revision] of [[Socket4, 4], [Socket3, 3]]) {
    const ways = [["polling"], ["websocket"], ["polling", "websocket"]];
    const lines = await Promise.all(ways.map((transports) => session(Socket, revision, transports)));
    for (const line of lines) console.log(line);
  }
  process.exit();
}

main();
