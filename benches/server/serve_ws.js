#!/usr/bin/env node
// The server on npm's `ws` that run.py measures: prints its port, and echoes.
"use strict";

const path = require("node:path");
const { createRequire } = require("node:module");

const { WebSocketServer } = createRequire(path.join(__dirname, "../../build/interop/"))("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 1024, perMessageDeflate: false });
server.on("connection", (ws) => ws.on("message", (data, binary) => ws.send(data, { binary })));
server.on("listening", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume();
