// One end of benches/socketio/run.py, with npm's socket.io and socket.io-client; peer.lua says what it does.
"use strict";

const path = require("node:path");
const { createRequire } = require("node:module");
const load = createRequire(path.join(__dirname, "../../build/interop/"));

const [role, url, count] = process.argv.slice(2);
const CHUNK = 500;
const TEXT = "x".repeat(64);

function cpu() {
  const used = process.cpuUsage();
  return (used.user + used.system) / 1e6;
}

function send(left, emit, finish) {
  for (let i = 0; i < Math.min(CHUNK, left); i++) emit();
  if (left > CHUNK) setImmediate(() => send(left - CHUNK, emit, finish));
  else finish();
}

if (role === "server") {
  const server = require("node:http").createServer();
  const io = new (load("socket.io").Server)(server, { transports: ["websocket"] });
  io.on("connection", (socket) => {
    let used = cpu();
    socket.on("event", () => {});
    socket.on("done", (ack) => {
      const now = cpu();
      ack(now - used);
      used = now;
    });
    socket.on("go", (n) => send(n, () => socket.emit("event", TEXT), () => socket.emit("done")));
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
} else {
  const socket = load("socket.io-client").io(url, { transports: ["websocket"] });
  let used, began;
  const start = () => {
    used = cpu();
    began = performance.now();
  };
  const report = (mine, clock, ofServer) => console.log(mine, clock, ofServer);
  const now = () => [cpu() - used, (performance.now() - began) / 1000];
  socket.on("event", () => {});
  socket.on("done", () => {
    const mine = now();
    socket.emit("done", (ofServer) => {
      report(...mine, ofServer);
      process.exit(0);
    });
  });
  socket.on("connect", () => {
    socket.emit("done", () => {
      start();
      send(Number(count), () => socket.emit("event", TEXT), () => {
        socket.emit("done", (ofServer) => {
          report(...now(), ofServer);
          start();
          socket.emit("go", Number(count));
        });
      });
    });
  });
}
