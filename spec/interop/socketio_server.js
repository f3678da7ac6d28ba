#!/usr/bin/env node
// The interop server on npm's `socket.io`. `socketio_server.js --ready FILE` listens on free loopback ports, writes
// `io PORT` and, for one with connectionStateRecovery, `recovering PORT` to FILE, and ends at the end of its standard
// input. It checks nothing: what is right is for the specs to say.
// What it does with events, socketio_server.py and spec/support/socketio.lua do as well.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { createRequire } = require("node:module");
const { parseArgs } = require("node:util");

const { Server } = createRequire(path.join(__dirname, "../../build/interop/"))("socket.io");

function serve(nsp) {
  nsp.use((socket, next) => {
    if (socket.handshake.auth.token === "bad") {
      const err = new Error("no");
      err.data = { code: 1 };
      return next(err);
    }
    next();
  });
  nsp.on("connection", (socket) => {
    socket.emit("auth", socket.handshake.auth);
    socket.on("message", (...args) => socket.emit("message-back", ...args));
    socket.on("message-with-ack", (...args) => args.pop()(...args));
    socket.on("ask", () => socket.emit("question", 1, (...answer) => socket.emit("answered", ...answer)));
    socket.on("burst", (count) => {
      for (let i = 1; i <= count; i++) socket.emit("item", i);
    });
    socket.on("join", (room, ack) => {
      socket.join(room);
      ack();
    });
    socket.on("tell", (room, ...args) => socket.to(room).emit("told", ...args));
    socket.on("leave", () => socket.disconnect());
    socket.on("kick", () => socket.disconnect(true));
    socket.on("lose", () => socket.conn.close());
  });
}

const { values } = parseArgs({
  options: { ready: { type: "string" }, cert: { type: "string" }, key: { type: "string" } },
});

/** Returns the port of a new server. */
function listen(options) {
  const server = http.createServer();
  const io = new Server(server, options);
  serve(io.sockets);
  serve(io.of("/custom"));
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

async function main() {
  const io = await listen({ perMessageDeflate: true });
  const recovering = await listen({ connectionStateRecovery: {} });
  fs.writeFileSync(`${values.ready}.new`, `io ${io}\nrecovering ${recovering}\n`);
  fs.renameSync(`${values.ready}.new`, values.ready);
}

process.stdin.on("end", () => process.exit(0)).resume();
main();
