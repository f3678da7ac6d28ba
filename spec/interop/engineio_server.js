#!/usr/bin/env node
// The interop server on npm's `engine.io`: sends messages back. "burst" is answered by 50 messages, "close" by the end.
//
// `engineio_server.js --ready FILE ...` listens on a free loopback port, writes `http PORT` to FILE and ends at the end
// of its standard input. It checks nothing: what is right is for the specs to say.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { createRequire } = require("node:module");
const { parseArgs } = require("node:util");

const { Server } = createRequire(path.join(__dirname, "../../build/interop/"))("engine.io");

const { values } = parseArgs({ options: { ready: { type: "string" } }, strict: false });
const server = http.createServer();
const engine = new Server({ pingInterval: 300, pingTimeout: 5000, cookie: true, perMessageDeflate: true });
engine.attach(server);

engine.on("connection", (socket) => {
  socket.on("message", (data) => {
    if (data === "burst") {
      for (let i = 0; i < 50; i++) socket.send(`burst ${i}`);
    } else if (data === "close") {
      socket.close();
    } else {
      socket.send(data);
    }
  });
});

server.listen(0, "127.0.0.1", () => {
  fs.writeFileSync(`${values.ready}.new`, `http ${server.address().port}\n`);
  fs.renameSync(`${values.ready}.new`, values.ready);
});
process.stdin.on("end", () => process.exit()).resume();
