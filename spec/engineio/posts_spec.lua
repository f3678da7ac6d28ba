-- What comes in the body of a request, at either end of Engine.IO's polling: one POST at a time, and bodies of very
-- many packets, which take more than one turn of the reactor.

local engine = require "spec.support.engine"
local played = require "spec.support.played_engine"
local socket = require "socket"

local rest, till = engine.rest, engine.till

local MANY = 1000

local BODY = ("4x\30"):rep(MANY - 1) .. "4x"

--- Returns MANY packets with these contents at some places.
local function packets(at)
  local list = {}
  for i = 1, MANY do list[i] = at[i] or "4x" end
  return table.concat(list, "\30")
end

describe("the server", function()
  after_each(engine.over)

  local e, sid

  before_each(function()
    e = engine.start { upgrade_timeout = 0.3 }
    sid = e:handshake()
  end)

  --- Sends the head of a POST, and so much of its body. Returns a function that returns the answer, and the socket.
  local function begin_post(length, part)
    local raw = assert(socket.connect("127.0.0.1", e.engine.port))
    local target = ("/engine.io/?EIO=4&transport=polling&sid=%s"):format(sid)
    assert(raw:send(("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s"):format(target, length, part)))
    raw:settimeout(0)
    local got = ""
    return function()
      local data, _, more = raw:receive(10000)
      got = got .. (data or more or "")
      return got:match "^HTTP/1.1 (%d+).-\r\n\r\n"
    end, raw
  end

  it("takes a POST that comes in chunks", function()
    local raw = assert(socket.connect("127.0.0.1", e.engine.port))
    raw:settimeout(0)
    assert(raw:send(("POST /engine.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: h\r\n"):format(sid)
      .. "Transfer-Encoding: chunked\r\n\r\n2\r\n4a\r\n3\r\n\0304b\r\n0\r\n\r\n"))
    till(function() return #e.seen == 2 end)
    assert.same({ "message a", "message b" }, e:news())
    raw:close()
  end)

  it("refuses a POST that comes while another one is coming, and ends the session", function()
    local _, raw = begin_post(10, "4a")
    rest(0.05)
    assert.equal("400", till((begin_post(10, ""))))
    assert.same({ "close transport error: overlap from client" }, e:news())
    raw:close()
  end)

  it("takes a POST after one that was refused or has failed, and one after the other", function()
    e.engine:use(function(request, response, done)
      if request.headers["x-refused"] then return response:finish(403) end
      done()
    end)
    assert.equal(403, e:post(sid, "4a", { ["X-Refused"] = "1" }).status)
    for i = 1, 3 do assert.equal("ok", e:post(sid, "4" .. i).body) end
    assert.equal(500, e:get("transport=polling&sid=" .. sid, { method = "PUT", body = "4a" }).status)
    assert.equal("ok", e:post(sid, "44").body)
    assert.same({ "message 1", "message 2", "message 3", "message 4" }, e:news())
  end)

  it("ends a session whose POST does not come in time, or not to its end", function()
    for _, is_given_up in ipairs { true, false } do
      sid = e:handshake()
      local answer, raw = begin_post(10, "4a")
      rest(0.05)
      if is_given_up then raw:close() else assert.equal("408", till(answer)) end
      till(function() return #e.seen > 0 end)
      assert.same({ "close transport error: the data of a request have not come, or are too large" }, e:news())
    end
  end)

  for name, prefix in pairs { ["4"] = "4x\30", ["3"] = "2:4x" } do
    it("tells of very many packets of revision " .. name .. " in several turns, and answers then", function()
      e = engine.start { allowEIO3 = true }
      e.eio = name
      sid = e:handshake()
      local answer = e:ask("transport=polling&sid=" .. sid, { method = "POST", body = prefix:rep(MANY - 1)
        .. prefix:gsub("\30", "") })
      till(function() return #e.seen > 0 end, 0)
      assert.is_true(#e.seen < 100)
      assert.is_nil(answer())
      till(function() return #e.seen == MANY end)
      assert.equal("ok", till(answer).body)
    end)
  end

  it("tells of all that has come even if nobody waits for the answer", function()
    local _, raw = begin_post(#BODY, BODY)
    till(function() return #e.seen > 0 end, 0)
    raw:close()
    till(function() return #e.seen == MANY end)
    rest(0.05)
    assert.equal("open", e.sockets[1].readyState)
    assert.equal("ok", e:post(sid, "4a").body)
  end)

  it("refuses a POST while it tells of the packets of another", function()
    begin_post(#BODY, BODY)
    local second = begin_post(2, "4a")
    assert.equal("400", till(second, 0))
    assert.matches("^close transport error", e.seen[#e.seen])
    local count = #e.seen
    assert.is_true(count < MANY)
    rest(0.05)
    assert.equal(count, #e.seen)
  end)

  it("tells nothing after what is no packet, and after the end of the session", function()
    for what, at in pairs {
      ["close parse error"] = { [500] = "9" }, ["close transport close"] = { [500] = "1" },
      ["close forced close"] = { [500] = "4close" },
    } do
      sid = e:handshake()
      local last = e.sockets[#e.sockets]
      last:on("message", function(data)
        if data == "close" then last:close(true) end
      end)
      e:news()
      assert.equal("ok", e:post(sid, packets(at)).body)
      till(function() return e.seen[#e.seen]:find "^close" end)
      assert.equal(what, e.seen[#e.seen])
      assert.equal(what == "close forced close" and 501 or 500, #e:news())
    end
  end)
end)

describe("the client", function()
  local s, get

  before_each(function()
    s = played.new()
    get = s:polling { upgrade = false }
    s:news()
  end)

  it("tells of very many packets in several turns, and asks for more then", function()
    local told_between
    s.socket:once("message", function()
      s.w.reactor.after(0, function() told_between = #s.told end)
    end)
    get:respond(BODY)
    assert.equal("GET", s:next_request().method)
    assert.equal(MANY, #s:news())
    assert.is_true(told_between < 100)
  end)

  it("tells nothing after what is no packet, and after the end of the session", function()
    for what, at in pairs {
      ["close transport error: the server's answer has something in it that is no packet"] = { [500] = "9" },
      ["close transport close: transport closed by the server"] = { [500] = "1" },
      ["close forced close"] = { [500] = "4close" },
    } do
      s = played.new()
      get = s:polling { upgrade = false }
      s.socket:on("message", function(data)
        if data == "close" then s.socket:close() end
      end)
      s:news()
      get:respond(packets(at))
      s:pass(0.1)
      assert.equal(what, s.told[#s.told])
      assert.is_true(#s.told <= 501 + 63, #s.told) -- those of the same turn may follow
    end
  end)
end)
