--[[
Registration by challenge and response, and messages between those who are registered. It knows nothing of what carries
the messages: a side is given texts, and a function that sends one.

  server -> client   {"type":"challenge","server":NAME,"publicKey":PEM,"nonce":...,"timestamp":ms}
  client -> server   {"type":"response","publicKey":PEM,"boxKey":PEM,"publicKeySig":FINGERPRINT,"timestamp":ms,
                      "signature":...}
  server -> client   {"type":"state","state":"VERIFIED"}, or "UNVERIFIED" with a reason, and the connection is closed
  both               {"type":"envelope","from":FINGERPRINT,"to":FINGERPRINT,"box":...}

The client signs a label, the server's name, the nonce, both keys' fingerprints, that of its box key, and both times. So
an answer is good for one challenge of one server, for a minute.
--]]

local crypto = require "examples.registration.crypto"
local json = require "luws.json"

local protocol = {}

local LABEL = "luws example registration 1"
local EXPIRES = 60 * 1000 -- milliseconds
local LARGEST = 4096 -- bytes of a message

-- Codes of close frames.
local FAILED, DOUBLE = 4401, 4409

local function encode(message) return assert(json.encode(message)) end

--- Returns a message; nil if a text is none.
local function decode(text)
  if #text > LARGEST then return nil, "a message has at most 4096 bytes" end
  local message = json.decode(text)
  if type(message) ~= "table" or type(message.type) ~= "string" then return nil, "this is not a message" end
  return message
end

--- Returns what a client signs.
local function proof(challenge, response)
  return table.concat({
    LABEL, challenge.server, challenge.nonce, crypto.fingerprint(challenge.publicKey),
    crypto.fingerprint(response.publicKey), crypto.fingerprint(response.boxKey),
    ("%.0f"):format(challenge.timestamp), ("%.0f"):format(response.timestamp),
  }, "\n")
end

--- verify(challenge, response, now): returns the fingerprint of a client that has answered rightly; or nil and why not.
function protocol.verify(challenge, response, now)
  if response.type ~= "response" then return nil, "a response was expected" end
  local key, box = crypto.read(response.publicKey, "EC"), crypto.read(response.boxKey, "RSA")
  if not key then return nil, "the public key is not one" end
  if not box then return nil, "the box key is not one" end
  local fingerprint = crypto.fingerprint(response.publicKey)
  if response.publicKeySig ~= fingerprint then return nil, "the fingerprint is not that of the key" end
  if type(response.timestamp) ~= "number" then return nil, "the time is missing" end
  if now - challenge.timestamp > EXPIRES then return nil, "the challenge is too old" end
  if not crypto.verify(key, proof(challenge, response), response.signature) then
    return nil, "the signature is wrong"
  end
  return fingerprint
end

-- Invitations: the fingerprint of a key as a URL

local SCHEME = "luws-invitation:"

function protocol.invitation(fingerprint) return SCHEME .. fingerprint end

--- read_invitation(url): returns the fingerprint; or nil and why the URL is no invitation.
function protocol.read_invitation(url)
  if type(url) ~= "string" or url:sub(1, #SCHEME) ~= SCHEME then return nil, "this is not an invitation" end
  local fingerprint = url:sub(#SCHEME + 1)
  local bytes = crypto.unbase64url(fingerprint)
  if not bytes or #bytes ~= 32 or crypto.base64url(bytes) ~= fingerprint then
    return nil, "the invitation has no fingerprint"
  end
  return fingerprint
end

-- The server

local Server = {}
Server.__index = Server

--- server(name, keys, now): returns a server with an address book. now() returns milliseconds.
function protocol.server(name, keys, now)
  return setmetatable({ name = name, public = crypto.public(keys.own), now = now, book = {} }, Server)
end

--- open(send, close): begins with a client: send(text) and close(code, reason) reach it. Returns its session.
function Server:open(send, close)
  local session = { state = "CHALLENGED", send = send, close = close, challenge = {
    type = "challenge", server = self.name, publicKey = self.public, timestamp = self.now(),
    nonce = crypto.base64url(crypto.random(16)),
  } }
  send(encode(session.challenge))
  return session
end

local function refuse(session, code, why)
  session.state = "UNVERIFIED"
  session.send(encode { type = "state", state = "UNVERIFIED", reason = why })
  session.close(code, why)
end

local function register(self, session, response)
  local fingerprint, why = protocol.verify(session.challenge, response, self.now())
  if not fingerprint then return refuse(session, FAILED, why) end
  if self.book[fingerprint] then return refuse(session, DOUBLE, "this key is registered already") end
  session.state, session.fingerprint, session.box_key = "VERIFIED", fingerprint, response.boxKey
  self.book[fingerprint] = session
  session.send(encode { type = "state", state = "VERIFIED" })
end

--- Passes an envelope on; returns why not.
local function deliver(self, session, envelope)
  if envelope.from ~= session.fingerprint then return "the sender is somebody else" end
  local receiver = self.book[envelope.to]
  if type(envelope.box) ~= "string" then return "the envelope is empty" end
  if not receiver then return "the receiver is not connected" end
  receiver.send(encode { type = "envelope", from = envelope.from, to = envelope.to, box = envelope.box })
end

--- receive(session, text): deals with what a client has sent.
function Server:receive(session, text)
  local message, why = decode(text)
  if session.state == "CHALLENGED" then
    if not message then return refuse(session, FAILED, why) end
    return register(self, session, message)
  end
  if session.state ~= "VERIFIED" then return end
  if message and message.type == "envelope" then
    why = deliver(self, session, message)
  elseif message and message.type == "lookup" then
    local other = self.book[message.fingerprint]
    return session.send(encode { type = "key", fingerprint = message.fingerprint, boxKey = other and other.box_key })
  else
    why = why or "an envelope was expected"
  end
  if why then session.send(encode { type = "refused", reason = why }) end
end

--- left(session): the connection of a client is over.
function Server:left(session)
  if session.fingerprint and self.book[session.fingerprint] == session then self.book[session.fingerprint] = nil end
  session.state = "UNREGISTERED"
end

-- The client

local Client = {}
Client.__index = Client

--- client(server_name, keys, now): returns a client; send is set by who connects it.
function protocol.client(server_name, keys, now)
  local public = crypto.public(keys.own)
  return setmetatable({
    server = server_name, keys = keys, now = now, public = public, fingerprint = crypto.fingerprint(public),
    state = "UNREGISTERED", send = nil, known = {}, inbox = {}, refusals = {},
  }, Client)
end

local on = {}

function on.challenge(self, message)
  if message.server ~= self.server then self.state = "ERROR" return end
  local response = {
    type = "response", publicKey = self.public, boxKey = crypto.public(self.keys.box),
    publicKeySig = self.fingerprint, timestamp = self.now(),
  }
  response.signature = crypto.sign(self.keys.own, proof(message, response))
  self.state = "RESPONDED"
  self.send(encode(response))
end

function on.state(self, message) self.state, self.reason = message.state, message.reason end
function on.key(self, message) self.known[message.fingerprint] = message.boxKey end
function on.refused(self, message) self.refusals[#self.refusals + 1] = message.reason end

function on.envelope(self, message)
  local text = crypto.open(self.keys.box, message.box)
  self.inbox[#self.inbox + 1] = { from = message.from, text = text }
end

--- receive(text): deals with what the server has sent.
function Client:receive(text)
  local message = json.decode(text)
  local f = type(message) == "table" and on[message.type]
  if f then f(self, message) end
end

--- look_up(fingerprint): asks the server for the key of somebody who has invited us.
function Client:look_up(fingerprint) self.send(encode { type = "lookup", fingerprint = fingerprint }) end

--- write(to, text): sends a text to somebody whose key is known. Returns true; or nil and why not.
function Client:write(to, text)
  local key = crypto.read(self.known[to], "RSA")
  if not key then return nil, "the key of the receiver is not known" end
  local message = encode { type = "envelope", from = self.fingerprint, to = to, box = crypto.seal(key, text) }
  if #message > LARGEST then return nil, "a message has at most 4096 bytes" end
  self.send(message)
  return true
end

return protocol
