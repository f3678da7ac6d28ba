-- Lua's allocator refuses memory, at each place in the life of a connection: once, or from there on. A function of luws
-- then raises Lua's own error, or returns one, and can be called again. What was accepted arrives, or the end is told;
-- nothing is left behind, and other connections go on. (What Rust is refused is in memory_limit_spec.lua.)

local odd_host = require "spec.support.odd_host"
local servers = require "spec.support.servers"

-- Tries the life of a connection with a refusal at each of its allocations, all of them several times over. Prints
-- whether there are many, what is left each time, in descriptors and in bytes, and what was wrong.
local PROGRAM = [[
  local url, ca_file, times, way = ...
  if jit then jit.off() end
  luup = { log = function() end }
  local luws, reactor = require "luws", require "luws.reactor"
  local socket = require "socket"
  local function connect(host, port) return socket.connect(host, port) end
  local how = ({
    usual = {},
    deflates = { deflate = true },
    traces = { debug = true },
    ["has a user's socket"] = { connect = connect },
    ["has a sink"] = { sink = true },
    ["sends a source"] = { source = true },
    ["is not waited for"] = { wait = false },
    ["is driven"] = { wait = false, driven = true },
    ["yields"] = { wait = "yield", coroutine = true },
    ["runs in a coroutine"] = { coroutine = true },
    ["has a user's socket in a coroutine"] = { connect = connect, coroutine = true },
  })[way]
  luws.debug_mode = how.debug or false
  local count, opcode, text = 0, nil, nil
  local function handler(_, code, data) count, opcode, text = count + 1, code, data end
  local function sink(piece)
    if piece and #piece > 0 then count, opcode, text = count + 1, 1, (text or "") .. piece end
    return 1
  end
  local options = {
    deflate = how.deflate, connect = how.connect, wait = how.wait, ssl_verify = "peer", ssl_cafile = ca_file,
    sink = how.sink and function() return sink end or nil,
  }
  local other = assert(luws.wsopen(url, function(_, _, data) text = data end, options.connect and {} or {
    ssl_verify = "peer", ssl_cafile = ca_file }))
  local wrong, results = {}, {}
  local conn, opened, sent, closed
  local is_sure -- nothing is refused any more, and the echo of a message is to come

  local function check(what, ok, value, why)
    local said
    if not ok then
      said = "raised " .. tostring(value)
      if value ~= "not enough memory" then wrong[what .. " " .. said] = true end
    elseif not value then
      said = "failed"
      if type(why) ~= "string" or why:find("attempt to ", 1, true) then wrong[what .. " " .. tostring(why)] = true end
    else
      said = "done"
    end
    results[what .. ": " .. said] = true
  end

  -- In a coroutine of PUC Lua 5.1, what yields cannot be in a pcall.
  local function try(what, f)
    if how.coroutine and not jit and _VERSION == "Lua 5.1" then return check(what, true, f()) end
    check(what, pcall(f))
  end

  local function source()
    local parts = { "he", "llo" }
    return function() return table.remove(parts, 1) end
  end

  -- These raise what is refused. All they note is in variables that exist.
  local function open()
    conn = nil
    conn, opened = luws.wsopen(url, handler, options)
    return conn, opened
  end
  local function turn()
    if how.driven then return reactor.step(0.02) end
    luws.wswait(conn, 0.02)
    luws.wsreceive(conn)
    return true
  end
  local function send()
    sent = nil
    sent, why = luws.wssend(conn, 1, how.source and source() or "hello")
    is_sure = sent and times + 0 < 10 and odd.was_refused()
    return sent, why
  end
  local function close()
    luws.wsclose(conn, 1000, "bye")
    closed = true
    return true
  end

  local function is_over() return conn.closing and not conn.connected end
  local function turns(done, most)
    for _ = 1, most do
      if done() or is_over() then return end
      try("a turn", turn)
    end
  end
  local function is_open() return conn.connected end
  local function is_told() return count > 0 end

  local function life()
    try("open", open)
    if not conn then return end
    turns(is_open, 10)
    if not conn.connected then return end
    try("send", send)
    if not sent then return end
    turns(is_told, 5)
    if is_told() then try("close", close) end
  end

  local function in_coroutine()
    if not how.coroutine then return life() end
    local ok, thread = pcall(coroutine.create, life)
    if not ok then return end
    local turns = 0
    repeat
      turns = turns + 1
      if turns == 20 then odd.allow() end -- it would wait for ever
      ok, why = coroutine.resume(thread)
      if coroutine.status(thread) ~= "dead" then pcall(reactor.step, 0.02) end
    until coroutine.status(thread) == "dead"
    if not ok and why ~= "not enough memory" then wrong[tostring(why)] = true end
  end

  local function one(place)
    conn, opened, sent, closed, is_sure, count, opcode, text = nil, nil, nil, nil, nil, 0, nil, nil
    odd.refuse(place, times + 0)
    pcall(in_coroutine)
    local was_refused = odd.allow()
    if conn then
      turns(is_open, 300)
      -- Calling the handler needs memory, too, and what that lacks is an error of the handler.
      turns(is_told, is_sure and 300 or 5)
      if is_sure and conn.connected and count == 0 then wrong["nothing came"] = true end
      if opcode and (text ~= "hello" or count > 1 and not how.sink) then
        wrong[("%d of %s %s"):format(count, tostring(opcode), tostring(text))] = true
      end
      results[opcode == 1 and "told: hello" or count > 0 and "told: " .. tostring(text) or "told: nothing"] = true
      luws.wsclose(conn)
      if not luws.wswait(conn, 10) then wrong["it is not over"] = true end
      if conn:getfd() ~= -1 then wrong["it has a descriptor"] = true end
    end
    if count > 0 and not conn then wrong["a message without a connection"] = true end
    if reactor.step(0) > 100 then wrong["too many turns"] = true end
    return was_refused
  end

  local function all()
    local place = 0
    while one(place) do place = place + 1 end
    assert(luws.wssend(other, 1, "still here"))
    text = nil
    repeat luws.wswait(other, 10) luws.wsreceive(other) until text
    if text ~= "still here" then wrong["another connection got " .. text] = true end
    conn, text = nil, nil
    for _ = 1, 4 do
      reactor.step(0)
      collectgarbage()
      luws.gettime()
    end
    return place
  end

  local places, had = all(), descriptors()
  -- What leaks, does so each time.
  local before, left = odd.allocated(), math.huge
  for _ = 1, 6 do
    if left <= 0 then break end
    all()
    local now = odd.allocated()
    before, left = now, math.min(left, now - before)
  end
  print(places > 20 and "many places" or places)
  print(math.max(0, descriptors() - had), left <= 0 and "nothing" or left)
  for what in pairs(wrong) do print("wrong: " .. what) end
  if os.getenv "ODD_SHOW" then for what in pairs(results) do io.stderr:write(what, "\n") end end
]]

local IS_FULL = os.getenv "LUWS_FAULTS" == "all"

-- Lua 5.2 and later collect what they can when memory is refused, and ask again.
local ONCE = _VERSION == "Lua 5.1" and 1 or 2

-- LuaJIT 2.1 overwrites a value of the function in which memory runs out, if that happens in its own tostring.
local IS_TRACED = not rawget(_G, "jit")

for _, case in ipairs {
  { "ws", "usual" }, { "wss", "usual" }, { "ws", "deflates" }, { "ws", "has a user's socket" },
  { "ws", "has a sink" }, { "ws", "sends a source" }, { "ws", "is not waited for" }, { "ws", "is driven" },
  { "ws", "yields" }, { "ws", "runs in a coroutine" }, { "ws", "has a user's socket in a coroutine" },
  IS_TRACED and { "ws", "traces" } or nil,
} do
  local is_tried_long = IS_FULL or case[2] == "usual" or case[2] == "is driven" or case[2] == "yields"
  for what, times in pairs { ["once"] = ONCE, ["from then on"] = is_tried_long and 1e9 or nil } do
    it(("memory that is refused %s leaves nothing behind: %s, %s"):format(what, case[1], case[2]), function()
      local output, status = odd_host.run {
        input = PROGRAM, servers.url("demo", case[1], "/echo"), servers.ca_file(), ("%d"):format(times), case[2],
        -- What malloc keeps for a thread counts as in use.
        environment = "GLIBC_TUNABLES=glibc.malloc.tcache_count=0",
      }
      assert.same({ "many places\n0\tnothing\n", 0 }, { output, status })
    end)
  end
end
