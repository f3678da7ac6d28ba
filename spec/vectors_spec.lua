-- Plays the vectors of spec/vectors that are for a client through the whole module: as bytes that the program hands
-- over, and as bytes that a server sends, before and after the upgrade.

local luws = require "luws"
local format = require "spec.vectors.format"
local scripted = require "spec.support.scripted"

local CLOSED = "receiver error: closed"

--- Returns the options for a header of permessage-deflate.
local function deflate_options(header)
  if not header then return nil end
  local options = {}
  for name, value in header:gmatch "; ([%w_]+)=?(%d*)" do
    options[name] = value == "" or tonumber(value)
  end
  return options
end

--- Returns the handler and the options of wsopen for a vector that may end the connection, and what will be seen.
local function watched(vector, over)
  local seen = {}
  local function handler(_, opcode, data)
    if opcode == 1 then
      seen[#seen + 1] = "text " .. data
    elseif opcode == 2 then
      seen[#seen + 1] = "binary " .. format.hex(data)
    elseif data ~= CLOSED then
      seen[#seen + 1] = "error " .. data
    else
      assert.matches("^close ", seen[#seen])
    end
  end
  local function control_handler(_, opcode, data)
    if opcode == 8 then
      local high, low = data:byte(1, 2)
      local code = high and high * 256 + low or ""
      seen[#seen + 1] = ("close %s%s"):format(code, #data > 2 and " " .. data:sub(3) or "")
    else
      seen[#seen + 1] = (opcode == 9 and "ping " or "pong ") .. format.hex(data)
    end
  end
  local wish = vector.upgrade and vector.wish or vector.deflate and "permessage-deflate"
  return handler, {
    control_handler = control_handler,
    max_payload_size = vector.limit,
    validate_utf8 = vector.validate_utf8,
    allow_long_lengths = vector.allow_long_lengths,
    deflate = deflate_options(wish),
    subprotocols = vector.subprotocols,
    -- The scripts do not answer a close frame, but end once they have received one as the last frame.
    close_timeout = over and 1 or 0,
  }, seen
end

--- Returns what the handlers must see, and the frames that the peer must get, as hex of opcode and payload.
local function wanted(vector)
  local events, frames, over = {}, {}, false
  for _, event in ipairs(vector.events) do
    local word, value = event:match "^(%S+) (.*)$"
    if word == "ping" then
      frames[#frames + 1] = "0a" .. value
    elseif word == "close" then
      local code = value:match "^%d+"
      frames[#frames + 1] = "08" .. (code and ("%04x"):format(code) or "")
    elseif word == "error" then
      local code, message = value:match "^(%d+) (.*)$"
      frames[#frames + 1] = ("08%04x"):format(code) .. format.hex(message)
      event = "error " .. message
    end
    if word ~= "open" and word ~= "fails" then events[#events + 1] = event end
    over = word == "close" or word == "error"
  end
  if not over then frames[#frames + 1] = "0803e8" end -- wsclose
  return events, frames, over
end

--- Returns what the peer has got, in the same form.
local function got(record)
  local frames = {}
  for i, frame in ipairs(record.frames) do
    assert.is_true(frame.masked and frame.fin and frame.rsv == 0)
    frames[i] = ("%02x"):format(frame.opcode) .. format.hex(frame.payload)
  end
  assert.equal("", record.rest)
  return frames
end

--- Receives until the given number of bytes has come, or the connection has ended.
local function receive(conn, count)
  local deadline = luws.gettime() + 10
  repeat
    luws.wswait(conn, 1)
    local more, bytes = luws.wsreceive(conn)
    count = count - (more ~= nil and bytes or 0)
  until more == nil or count <= 0 or luws.gettime() > deadline
  while conn:dirty() do luws.wsreceive(conn) end -- the rest, too much for one call
end

local function extensions(vector)
  return vector.deflate and { "Sec-WebSocket-Extensions: " .. vector.deflate } or nil
end

local open, before = {}, {}
for _, vector in ipairs(format.all()) do
  local list = vector.upgrade and before or open
  -- The script knows the hash that belongs to the key, but not the key itself.
  if not vector.input:find("{key}", 1, true) then list[#list + 1] = vector end
end

describe("vectors, handed over", function()
  local peers = {} -- by the negotiated parameters: one peer for many connections

  local function peer_for(vector)
    local agreed = vector.deflate or ""
    peers[agreed] = peers[agreed] or
      { peer = scripted.peer { { "upgrade", headers = extensions(vector) }, { "hold" } }, count = 0 }
    peers[agreed].count = peers[agreed].count + 1
    return peers[agreed].peer, peers[agreed].count
  end

  teardown(function()
    for _, each in pairs(peers) do each.peer:close() end
  end)

  for _, vector in ipairs(open) do
    it(vector.name, function()
      local events, frames, over = wanted(vector)
      for _, size in ipairs { #vector.input, math.max(1, math.floor(#vector.input / 1000)) } do
        local peer, number = peer_for(vector)
        local handler, options, seen = watched(vector, over)
        local conn = assert(luws.wsopen(peer.url, handler, options))
        local more
        for at = 1, #vector.input, size do
          more = luws.wshandleincoming(vector.input:sub(at, at + size - 1), conn)
          while conn:dirty() do -- the rest, too much for one call
            if luws.wsreceive(conn) == nil then more = nil end
          end
        end
        assert.same(events, seen)
        assert.same({ not over or nil, not over }, { more, conn.connected })
        luws.wsclose(conn)
        assert.same(frames, got(peer:result(number)))
      end
    end)
  end
end)

describe("vectors, from a server", function()
  for i, vector in ipairs(open) do
    it(vector.name, function()
      local events, frames, over = wanted(vector)
      -- Every other vector is sent in three pieces, the rest at once. One that ends with a close frame is always sent
      -- at once: a server that keeps sending after it may be reset before it reads the answer.
      local at_once = i % 2 == 0 or (events[#events] or ""):match "^close"
      local size = at_once and #vector.input or math.ceil(#vector.input / 3)
      local peer = scripted.peer {
        { "upgrade", headers = extensions(vector) }, { "pieces", vector.input, size, 0.0005 }, { "hold" },
      }
      local handler, options, seen = watched(vector, over)
      local conn = assert(luws.wsopen(peer.url, handler, options))
      receive(conn, #vector.input)
      assert.same(events, seen)
      luws.wsclose(conn)
      assert.same(frames, got(peer:result()))
      peer:close()
    end)
  end
end)

describe("vectors, before the upgrade", function()
  for _, vector in ipairs(before) do
    it(vector.name, function()
      local events, frames, over = wanted(vector)
      local first, value = (vector.events[1] or "fails the peer closed the connection"):match "^(%S+) (.*)$"
      for _, pieces in ipairs { 0, math.ceil(#vector.input / 3) } do -- 0: in one write
        local steps = { { "upgrade", response = vector.input, pieces = pieces, interval = 0.0005 } }
        if first == "open" then steps[2] = { "hold" } end
        local peer = scripted.peer(steps)
        local handler, options, seen = watched(vector, over)
        local conn, why = luws.wsopen(peer.url, handler, options)
        if first == "fails" then
          assert.is_false(conn)
          local message = "upgrade failed; " .. value
          if message:sub(-1) == "*" then why, message = why:sub(1, #message - 1), message:sub(1, -2) end
          assert.equal(message, why)
          assert.equal("", peer:result().rest)
        else
          assert.is_truthy(conn, why)
          assert.equal(value ~= "" and value or nil, conn.subprotocol)
          peer:at(2) -- everything is sent
          repeat
            local more, bytes = luws.wsreceive(conn)
          until not more and bytes == 0 or more == nil
          assert.same(events, seen)
          luws.wsclose(conn)
          assert.same(frames, got(peer:result()))
        end
        peer:close()
      end
    end)
  end
end)
