-- Two clients register with a server by challenge and response, and write to each other, all in one process and without
-- a network. What the first client says and hears is recorded; then a branch in which somebody has tampered with its
-- answer is refused.
--
--   lua5.1 examples/registration/run.lua [FILE]    in the project's folder; FILE gets the recording
--
-- It needs luaossl (Debian's lua-luaossl) for the keys.

local crypto = require "examples.registration.crypto"
local protocol = require "examples.registration.protocol"
local json = require "luws.json"
local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"

local URL, NAME = "ws://registry.test/", "registry.test"

local net = mock.net()
local function now() return math.floor(1700000000000 + net:now() * 1000) end

local server = protocol.server(NAME, crypto.keys(), now)
local sessions = {}
net:listen(URL)
  :on("open", function(peer)
    sessions[peer] = server:open(function(text) peer:send(text) end, function(...) peer:close(...) end)
  end)
  :on("message", function(peer, text) server:receive(sessions[peer], text) end)
  :on("close", function(peer) server:left(sessions[peer]) end)

local rec = assert(record.new { file = ..., clock = net, seed = 1 })

--- Connects a client. Returns it.
local function connect(name, keys)
  local client = protocol.client(NAME, keys or crypto.keys(), now)
  client.conn = assert(rec:wsopen(name, URL, function(_, opcode, data)
    if opcode then client:receive(data) end
  end, net:options()))
  function client.send(text) luws.wssend(client.conn, 1, text) end
  net:run()
  return client
end

local alice, bob = connect "alice", connect "bob"
print("alice is " .. alice.state .. ", bob is " .. bob.state)

-- Bob invites Alice, who writes to him.
local invited = assert(protocol.read_invitation(protocol.invitation(bob.fingerprint)))
alice:look_up(invited)
net:run()
assert(alice:write(invited, "Hello, Bob!"))
net:run()
print("bob got: " .. bob.inbox[1].text)

-- What is refused.
print("too large: " .. select(2, alice:write(invited, ("x"):rep(4000))))
alice.send(assert(json.encode { type = "envelope", from = bob.fingerprint, to = invited, box = "x" }))
alice.send(assert(json.encode { type = "envelope", from = alice.fingerprint, to = ("A"):rep(43), box = "x" }))
net:run()
print("refused: " .. table.concat(alice.refusals, ", "))
local double = connect("double", alice.keys)
print("a second alice is " .. double.state .. ": " .. double.reason .. " (" .. double.conn.close_code .. ")")
print("an invitation: " .. select(2, protocol.read_invitation "luws-invitation:x"))

-- The recorded answer to the recorded challenge is right; in a branch it is not, because one field was changed.
local function verified(recording)
  local challenge, response
  for row in recording:rows { conn = "alice" } do
    local message = row.data and json.decode(row.data)
    if message and message.type == "challenge" then challenge = message end
    if message and message.type == "response" then response = response or { row = row, message = message } end
  end
  return response.row, response.message, protocol.verify(challenge, response.message, challenge.timestamp)
end

local row, message, fingerprint = verified(rec)
assert(fingerprint == alice.fingerprint)
message.timestamp = message.timestamp + 1
local branch = rec:branch(row.row - 1)
branch:write { out = "send", conn = "alice", text = assert(json.encode(message)) }
print("the tampered answer: " .. select(4, verified(branch)))

luws.wsclose(alice.conn)
luws.wsclose(bob.conn)
net:settle()
net:finish()
rec:close()
