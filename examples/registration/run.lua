-- Two clients register with a server by challenge and response, and write to each other, all in one process. What the
-- first client says and hears is recorded; then a branch in which somebody has tampered with its answer is refused.
--
--   lua5.1 examples/registration/run.lua [FILE [PORT]]    in the project's folder
--
-- FILE gets the recording ("-": none is kept). Without a PORT, there is no network and no waiting: it runs in a world
-- of luws.mock. With one (0: any that is free) the same happens over sockets. It needs luaossl (Debian's lua-luaossl)
-- for the keys.

local crypto = require "examples.registration.crypto"
local json = require "luws.json"
local luws = require "luws"
local network = require "examples.registration.network"
local protocol = require "examples.registration.protocol"
local record = require "luws.record"

local file, port = ...
local NAME = "registry.test"

-- Where it happens: `reactor` and `place` for the server, and till(done), which lets it happen until done() is true.

local function in_memory()
  local net = require("luws.mock").net()
  return {
    reactor = net.reactor, place = { host = NAME, port = 80 }, clock = net,
    time = function() return 1700000000 + net:now() end,
    till = function(done)
      net:run()
      assert(done())
    end,
    finish = function()
      net:settle()
      net:finish()
    end,
  }
end

local function over_sockets()
  local reactor = require "luws.reactor"
  return {
    reactor = reactor, place = { host = "127.0.0.1", port = assert(tonumber(port)) }, time = luws.gettime,
    till = function(done)
      local deadline = luws.gettime() + 10
      while not done() do
        assert(luws.gettime() < deadline, "it takes too long")
        reactor.step(1)
      end
    end,
    finish = function() reactor.run() end,
  }
end

local world = port and over_sockets() or in_memory()
world.place.reactor = world.reactor
local function now() return math.floor(world.time() * 1000) end

local server = assert(network.listen(world.place, NAME, crypto.keys(), now))
local host, bound = server:address()
local URL = ("ws://%s:%d/"):format(host, bound)
local rec = assert(record.new { file = file ~= "-" and file or nil, clock = world.clock, seed = 1 })
assert(rec:count() == 0, "the file has a recording already")

--- Connects a client. Returns it once the server has said what it thinks of it.
local function connect(name, keys)
  local client = protocol.client(NAME, keys or crypto.keys(), now)
  client.name = name
  network.connect(rec, URL, client, { reactor = world.reactor })
  world.till(function() return client.state == "VERIFIED" or client.state == "UNVERIFIED" end)
  return client
end

local alice, bob = connect "alice", connect "bob"
print("alice is " .. alice.state .. ", bob is " .. bob.state)

-- Bob invites Alice, who writes to him.
local invited = assert(protocol.read_invitation(protocol.invitation(bob.fingerprint)))
alice:look_up(invited)
world.till(function() return alice.known[invited] end)
assert(alice:write(invited, "Hello, Bob!"))
world.till(function() return bob.inbox[1] end)
print("bob got: " .. bob.inbox[1].text)

-- What is refused.
print("too large: " .. select(2, alice:write(invited, ("x"):rep(4000))))
alice.send(assert(json.encode { type = "envelope", from = bob.fingerprint, to = invited, box = "x" }))
alice.send(assert(json.encode { type = "envelope", from = alice.fingerprint, to = ("A"):rep(43), box = "x" }))
world.till(function() return alice.refusals[2] end)
print("refused: " .. table.concat(alice.refusals, ", "))
local double = connect("double", alice.keys)
world.till(function() return double.conn.close_code end)
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
assert(server:close())
world.finish()
assert(server:is_closed())
assert(rec:close())
