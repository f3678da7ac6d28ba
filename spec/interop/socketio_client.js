#!/usr/bin/env node
// The interop client on npm's `socket.io-client`: `socketio_client.js URL TRANSPORTS [2]`, where 2 is its version, does
// with a server all that socketio_server.js offers, and prints what it sees, a line for each step. socketio_client.py
// prints the same.
"use strict";

const path = require("node:path");
const { createRequire } = require("node:module");

const [url, transports, version] = process.argv.slice(2);
const io = createRequire(path.join(__dirname, "../../build/interop/"))(
  version === "2" ? "socket.io-client-2" : "socket.io-client");
const options = { transports: transports.split(","), reconnection: false, auth: { token: "t" }, forceNew: true };

/** What was received as text, the same in every language. */
function shown(value) {
  if (value instanceof Uint8Array || value instanceof ArrayBuffer) return `<${Buffer.from(value).toString("hex")}>`;
  if (Array.isArray(value)) return `[${value.map(shown).join(",")}]`;
  if (value && typeof value === "object") {
    return `{${Object.keys(value).sort().map((key) => `${key}:${shown(value[key])}`).join(",")}}`;
  }
  return JSON.stringify(value ?? null);
}

const ARGUMENTS = [1, "2 \u00e9\u{1f600}", { list: [true, null, -1.5], none: {} }, Buffer.from([1, 2, 3]),
  { deep: [Buffer.alloc(0)] }];

function next(socket, event) {
  return new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
}

function acknowledged(socket, ...args) {
  return new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
}

function print(what, value) {
  console.log(`${what} ${shown(value)}`);
}

async function main() {
  const socket = io(url, options);
  const auth = next(socket, "auth");
  await next(socket, "connect");
  print("auth", await auth);
  print("ack", await acknowledged(socket, "message-with-ack", ...ARGUMENTS));
  const back = next(socket, "message-back");
  socket.emit("message", ...ARGUMENTS);
  print("back", await back);
  socket.once("question", (number, ack) => ack(number + 1, Buffer.from("x")));
  const answered = next(socket, "answered");
  socket.emit("ask");
  print("answered", await answered);
  const items = [];
  const all = new Promise((resolve) => socket.on("item", (item) => items.push(item) === 200 && resolve()));
  socket.emit("burst", 200);
  await all;
  print("burst", items.every((item, i) => item === i + 1));
  const acks = await Promise.all(items.map((item) => acknowledged(socket, "message-with-ack", item)));
  print("acks", acks.every(([item], i) => item === i + 1));
  const other = io(`${url}/custom`, options);
  await next(other, "connect");
  await acknowledged(socket, "join", "room");
  const second = io(url, options);
  await next(second, "connect");
  await acknowledged(second, "join", "room");
  const told = next(second, "told");
  socket.emit("tell", "room", "hello", Buffer.from("y"));
  print("told", await told);
  second.disconnect();
  const refused = io(`${url}/unknown`, options);
  const [err] = await next(refused, version === "2" ? "error" : "connect_error");
  print("refused", err.message ?? err);
  if (version !== "2") {
    const bad = io(url, { ...options, auth: { token: "bad" } });
    const [no] = await next(bad, "connect_error");
    print("refused", [no.message, no.data]);
  }
  const gone = next(socket, "disconnect");
  socket.emit("leave");
  print("gone", (await gone)[0]);
  process.exit(0);
}

setTimeout(() => {
  console.log("nothing happens any more");
  process.exit(1);
}, 20000);
main();
