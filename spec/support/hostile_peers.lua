-- Scripts of hostile peers: floods, and compressed messages that inflate to much. hostile_attacks.lua makes its attacks
-- of them. It knows the steps of scripted.lua and the bytes of frames; it does not know what should come of them.

local scripted = require "spec.support.scripted"

local CLOSE = scripted.frame { opcode = "close", payload = scripted.close_payload(1000) }

-- A flood is sent in blocks of about this many bytes.
local BLOCK = 64000

--- Returns steps that send these bytes again and again: `count` times, in blocks.
local function flood(bytes, count)
  local times = math.max(1, math.floor(BLOCK / #bytes))
  if times >= count then return { "send", bytes:rep(count) } end
  return { "send", bytes:rep(times), times = math.ceil(count / times) }
end

--- Returns how often `flood` sends its bytes.
local function flooded(bytes, count)
  local times = math.max(1, math.floor(BLOCK / #bytes))
  return times >= count and count or times * math.ceil(count / times)
end

-- Compressed messages, as the engine in server role makes them.

local compressed = {}

--- Returns two frames, each a compressed message of `size` zeros: the first, and one that can follow it any number of
-- times, since it refers to the zeros before it. They are made when a peer needs them: to make them takes memory, and
-- the program's is measured.
local function zeros(size)
  if not compressed[size] then
    local world = require "spec.support.world"
    local w = world.new()
    local _, peer = w:open(w:peer { deflate = { level = 6, threshold = 0 } }, { deflate = true })
    local inbox = function() return peer.line.other:take() end
    local message = ("\0"):rep(size)
    inbox()
    peer:send(2, message)
    local first = inbox()
    peer:send(2, message)
    compressed[size] = { first, inbox() }
  end
  return compressed[size][1], compressed[size][2]
end

--- Returns a function for `steps`: a flood of these bytes after the upgrade and after `before`, then a close frame,
-- unless `is_open`.
local function floods(bytes, count, before, is_open)
  return function(scale)
    return {
      { "send", before or "" }, flood(bytes, count * scale), { "send", is_open and "" or CLOSE }, { "hold" },
    }
  end
end

--- Returns a function for `steps`: one compressed message that inflates to `size`, and then a close frame, unless
-- `is_open`.
local function bomb(size, is_open)
  return function() return floods("", 0, zeros(size), is_open)(1) end
end

--- Returns the same for `count` messages that inflate to `size` each, and at least one.
local function bombs(size, count, is_open)
  return function(scale)
    local first, following = zeros(size)
    return floods(following, count, first, is_open)(scale)
  end
end

--- Returns a function for `steps`: a flood from a peer that reads nothing, and never closes.
local function deaf(bytes, count)
  return function(scale)
    return { flood(bytes, count * scale), { "wait" }, receive_buffer = 4096 }
  end
end

--- Returns a function for `counts`: how many there are each time that the flood's bytes are sent, and how many more.
local function each(bytes, count, per, more)
  return function(scale)
    local times, counts = flooded(bytes, count * scale), { messages = 0, controls = 0 }
    for name, number in pairs(per) do counts[name] = number * times end
    for name, number in pairs(more) do counts[name] = counts[name] + number end
    return counts
  end
end

return {
  CLOSE = CLOSE, zeros = zeros, flood = flood, floods = floods, bomb = bomb, bombs = bombs, deaf = deaf, each = each,
}
