#!/usr/bin/env node
// The interop server on npm's `ws`: a peer that shares no code with luws, over ws and wss.
//
// `ws_server.js --ready FILE --cert PEM --key PEM` listens on free loopback ports, writes `ws PORT` and `wss PORT` to
// FILE and ends at the end of its standard input. It checks nothing: what is right is for the specs to say. Its paths
// are those that websockets_server.py lists.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const path = require("node:path");
const { createRequire } = require("node:module");
const { parseArgs } = require("node:util");

// Packages are installed where builds go, not beside the sources.
const { WebSocketServer } = createRequire(path.join(__dirname, "../../build/interop/"))("ws");

const MAX_SIZE = 64 << 20; // bytes in a message

function echo(ws) {
  ws.on("message", (data, binary) => ws.send(data, { binary }));
}

function fragments(ws) {
  ws.on("message", (data, binary) => {
    const third = Math.floor(data.length / 3) + 1;
    for (const i of [0, 1, 2]) {
      ws.send(data.subarray(i * third, (i + 1) * third), { binary, fin: i === 2 });
    }
  });
}

function ping(ws) {
  ws.on("pong", (data) => {
    if (data.toString() === "are you there") {
      ws.send("pong received");
    }
  });
  ws.ping("are you there");
}

function close(ws, request, query) {
  ws.close(Number(query.get("code") ?? 1000), query.get("reason") ?? "");
}

function subprotocol(ws) {
  ws.send(ws.protocol);
}

function big(ws, request, query) {
  const data = Buffer.alloc(Number(query.get("size")));
  for (let i = 0; i < data.length; i++) {
    data[i] = i % 251;
  }
  ws.send(data);
}

function headers(ws, request) {
  const seen = {};
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i].toLowerCase();
    const value = request.rawHeaders[i + 1];
    seen[name] = name in seen ? `${seen[name]}, ${value}` : value;
  }
  ws.send(JSON.stringify(seen));
}

const PATHS = {
  "/echo": echo, "/fragments": fragments, "/ping": ping, "/close": close, "/subprotocol": subprotocol, "/big": big,
  "/headers": headers, "/slow": echo,
};

const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: MAX_SIZE,
  perMessageDeflate: { threshold: 0 }, // bytes; all messages, for a client that offers it
  handleProtocols: (offered, request) =>
    new URL(request.url, "ws://localhost").pathname === "/subprotocol" && offered.has("chat") ? "chat" : false,
});

function upgrade(request, socket, head) {
  const url = new URL(request.url, "ws://localhost");
  const play = Object.hasOwn(PATHS, url.pathname) && PATHS[url.pathname];
  socket.on("error", () => {}); // a reset is the client's right at any time
  if (!play) {
    socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 13\r\n\r\nno such path\n");
    return;
  }
  const accept = () =>
    sockets.handleUpgrade(request, socket, head, (ws) => {
      ws.on("error", () => {}); // ws has already closed with the right code
      play(ws, request, url.searchParams);
    });
  if (url.pathname === "/slow") {
    setTimeout(accept, 300);
  } else {
    accept();
  }
}

function listen(server) {
  server.on("upgrade", upgrade);
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

async function main() {
  const { values } = parseArgs({
    options: { ready: { type: "string" }, cert: { type: "string" }, key: { type: "string" } },
  });
  const tls = { cert: fs.readFileSync(values.cert), key: fs.readFileSync(values.key) };
  const ws = await listen(http.createServer());
  const wss = await listen(https.createServer(tls));
  fs.writeFileSync(`${values.ready}.new`, `ws ${ws}\nwss ${wss}\n`);
  fs.renameSync(`${values.ready}.new`, values.ready);
}

process.stdin.on("end", () => process.exit(0)).resume();
main();
