-- examples/registration: the program, its protocol with answers that are wrong, and its recording.

local child = require "spec.support.child"
local crypto = require "examples.registration.crypto"
local json = require "luws.json"
local protocol = require "examples.registration.protocol"
local record = require "luws.record"

local FIXTURE = "examples/registration/registration.rec"
local NAME = "registry.test"

--- Returns the challenge and the response that were recorded of Alice, and the row of the response.
local function recorded(rec)
  local challenge, response, row
  for each in rec:rows { conn = "alice" } do
    local message = each.data and json.decode(each.data)
    if message and message.type == "challenge" then challenge = message end
    if message and message.type == "response" then response, row = message, each end
  end
  return challenge, response, row
end

describe("examples/registration", function()
  local keys, others, time

  setup(function() keys, others = crypto.keys(), crypto.keys() end)
  before_each(function() time = 1700000000000 end)

  local function now() return time end

  --- Returns a server, and connect(keys), which returns a client and what its end of the server knows.
  local function world()
    local server = protocol.server(NAME, others, now)
    return server, function(own, change)
      local client, link = protocol.client(NAME, own, now), { to_client = {}, to_server = {} }
      function client.send(text) link.to_server[#link.to_server + 1] = change and change(text) or text end
      link.session = server:open(function(text) link.to_client[#link.to_client + 1] = text end,
        function(code) link.code = code end)
      function link.run()
        while link.to_client[1] or link.to_server[1] do
          if link.to_client[1] then
            client:receive(table.remove(link.to_client, 1))
          else
            server:receive(link.session, table.remove(link.to_server, 1))
          end
        end
      end
      return client, link
    end
  end

  it("runs, in memory and over sockets alike, and is done", function()
    local output, status = child.run { "examples/registration/run.lua" }
    assert.same({ output, status }, { child.run { "examples/registration/run.lua", "-", "0" } })
    assert.equal([[
alice is VERIFIED, bob is VERIFIED
bob got: Hello, Bob!
too large: a message has at most 4096 bytes
refused: the sender is somebody else, the receiver is not connected
a second alice is UNVERIFIED: this key is registered already (4409)
an invitation: the invitation has no fingerprint
the tampered answer: the signature is wrong
]], output)
    assert.equal(0, status)
  end)

  it("has a recording whose answer is right, and wrong in any branch that changes it", function()
    local rec = assert(record.load(FIXTURE))
    local challenge, response, row = recorded(rec)
    assert.equal(response.publicKeySig, protocol.verify(challenge, response, challenge.timestamp))
    for _, case in ipairs {
      { "timestamp", response.timestamp + 1, "the signature is wrong" },
      { "signature", response.signature:gsub("^....", "AAAA"), "the signature is wrong" },
      { "signature", json.null, "the signature is wrong" },
      { "publicKey", crypto.public(keys.own), "the fingerprint is not that of the key" },
      { "publicKey", crypto.public(keys.box), "the public key is not one" },
      { "publicKey", "garbage", "the public key is not one" },
      { "boxKey", crypto.public(keys.box), "the signature is wrong" },
      { "boxKey", crypto.public(keys.own), "the box key is not one" },
      { "publicKeySig", ("A"):rep(43), "the fingerprint is not that of the key" },
      { "timestamp", json.null, "the time is missing" },
      { "type", "answer", "a response was expected" },
    } do
      local _, changed = recorded(rec)
      changed[case[1]] = case[2]
      local branch = rec:branch(row.row - 1)
      branch:write { out = "send", conn = "alice", text = assert(json.encode(changed)) }
      local _, tampered = recorded(branch)
      if case[1] == "type" then tampered = changed end
      assert.same({ nil, case[3] }, { protocol.verify(challenge, tampered, challenge.timestamp) })
    end
    -- The same answer to another challenge, to another server, or too late.
    for field, value in pairs { nonce = "other", server = "other", publicKey = crypto.public(keys.own) } do
      local other = recorded(rec)
      other[field] = value
      assert.same({ nil, "the signature is wrong" }, { protocol.verify(other, response, challenge.timestamp) })
    end
    assert.same({ nil, "the challenge is too old" },
      { protocol.verify(challenge, response, challenge.timestamp + 60001) })
  end)

  it("registers a client, once at a time, and again when it has left", function()
    local server, connect = world()
    local client, link = connect(keys)
    assert.equal("CHALLENGED", link.session.state)
    link.run()
    assert.same({ "VERIFIED", "VERIFIED", nil }, { client.state, link.session.state, link.code })
    local double, second = connect(keys)
    second.run()
    assert.same({ "UNVERIFIED", 4409 }, { double.state, second.code })
    server:left(second.session)
    assert.equal(link.session, server.book[client.fingerprint])
    server:left(link.session)
    assert.is_nil(next(server.book))
    local again, third = connect(keys)
    third.run()
    assert.same({ "VERIFIED", nil }, { again.state, third.code })
  end)

  it("ends the connection of a client that answers wrongly", function()
    for _, text in ipairs { "garbage", "[]", '{"type":5}', '{"type":"envelope"}', ("x"):rep(4097) } do
      local _, connect = world()
      local client, link = connect(keys, function() return text end)
      link.run()
      assert.same({ "UNVERIFIED", 4401 }, { client.state, link.code })
    end
  end)

  it("answers no server but the one that was meant", function()
    local _, connect = world()
    local client, link = connect(keys)
    client.server = "other.test"
    link.run()
    assert.same({ "ERROR", "CHALLENGED" }, { client.state, link.session.state })
  end)

  it("delivers what only the receiver can read", function()
    local text = "Grüße, \0"
    local box = crypto.seal(keys.box, text)
    assert.equal(text, crypto.open(keys.box, box))
    assert.same({ nil, "the box cannot be opened" }, { crypto.open(others.box, box) })
    local last = box:sub(-2, -2) == "A" and "B" or "A"
    assert.same({ nil, "the box cannot be opened" }, { crypto.open(keys.box, box:sub(1, -3) .. last .. box:sub(-1)) })
    assert.same({ nil, "the box is too short" }, { crypto.open(keys.box, "AAAA") })
    assert.same({ nil, "the box is too short" }, { crypto.open(keys.box, "!") })
  end)

  it("takes invitations that are made so, and no others", function()
    local fingerprint = crypto.fingerprint(crypto.public(keys.own))
    local url = protocol.invitation(fingerprint)
    assert.equal(fingerprint, protocol.read_invitation(url))
    for _, wrong in ipairs { "", "http://x/", "luws-invitation:", url:sub(1, -2), url .. "A", url:gsub(".$", "!") } do
      assert.is_nil((protocol.read_invitation(wrong)))
    end
    assert.same({ nil, "this is not an invitation" }, { protocol.read_invitation() })
  end)

  it("has base64url as RFC 4648 has it", function()
    for bytes, text in pairs { [""] = "", f = "Zg", fo = "Zm8", foo = "Zm9v", foob = "Zm9vYg", ["\255\254"] = "__4" } do
      assert.same({ text, bytes }, { crypto.base64url(bytes), crypto.unbase64url(text) })
    end
  end)
end)
