--[[
For programs that want to ask for what happens, instead of being called: a queue of a server's events (Server:next), and
a coroutine for each connection that asks for its messages (server.spawn). What has not been asked for is bounded: the
connections are paused meanwhile.
--]]

local _, import = ...
local close, guard, log, methods = import("close"), import("guard"), import("log"), import("publish").methods
local clock, quick, responses, worlds = import("clock"), import("quick"), import("server/responses"), import("worlds")
local reactor, seconds_of = import("reactor").public, import("reactor").seconds_of

local pull = {}

-- How many events of a server, and how many messages of a connection, wait before nothing more is received.
local MOST_EVENTS, MOST_MESSAGES = 1000, 16

-- Queues

local Queue = {}
Queue.__index = Queue

local function new_queue()
  return setmetatable({ first = 1, last = 0, paused = {} }, Queue)
end

function Queue:push(event)
  self.last = self.last + 1
  self[self.last] = event
end

function Queue:pop()
  local event = self[self.first]
  if event == nil then return nil end
  self[self.first] = nil
  self.first = self.first + 1
  return event
end

function Queue:length() return self.last - self.first + 1 end

--- hold(conn, most): pauses a connection if that many events wait.
function Queue:hold(conn, most)
  if self:length() < most then return end
  self.paused[conn] = true
  methods.pause(conn)
end

--- release(): has those that were paused go on.
function Queue:release()
  local paused = self.paused
  if next(paused) == nil then return end
  self.paused = {}
  for conn in pairs(paused) do methods.resume(conn) end
end

-- Server:next

local HANDLERS = { "on_request", "on_open", "on_message", "on_drain", "on_close" }

--- queue(handlers): makes the handlers of a server that was given none put what happens into a queue, which is
-- returned, once somebody asks it. Until then, it is a server without handlers. Returns nil if there are handlers.
function pull.queue(handlers)
  for _, name in ipairs(HANDLERS) do
    if handlers[name] then return nil end
  end
  local queue = new_queue()
  queue.is_asked = false
  local told = setmetatable({}, { __mode = "k" }) -- the connections whose "open" is in the queue, or was
  function handlers.on_request(request)
    if not queue.is_asked then return nil end
    queue:push { "request", request }
    return responses.LATER
  end
  function handlers.on_open(conn, request)
    if not queue.is_asked then return end
    told[conn] = true
    queue:push { "open", conn, request }
  end
  function handlers.on_message(conn, opcode, data)
    if not told[conn] then return end
    queue:push { "message", conn, opcode, data }
    queue:hold(conn, MOST_EVENTS)
  end
  function handlers.on_drain(conn)
    if told[conn] then queue:push { "drain", conn } end
  end
  function handlers.on_close(conn, code, reason)
    if told[conn] then queue:push { "close", conn, code, reason } end
  end
  return queue
end

--- next(server, seconds): does the work of Server:next.
function Queue:next(server, seconds)
  self.is_asked = true
  local deadline = clock.now() + (seconds == nil and math.huge or seconds_of("next", 1, seconds))
  local event = self:pop()
  while not event do
    self:release()
    if server:is_closed() then return nil, "closed" end
    local left = deadline - clock.now()
    reactor.step(math.max(0, left))
    event = self:pop()
    if not event and left <= 0 then return nil, "timeout" end
  end
  return guard.unpack(event, 1, 4)
end

-- spawn

--- resume(conn, thread): lets the coroutine of a connection go on. The connection ends with it.
local function resume(conn, thread)
  local ok, err = coroutine.resume(thread)
  local state = quick.state_of(conn)
  if not ok then
    log.handler_failed(("the coroutine of %s raised an error"):format(guard.name(conn)), guard.trace_of(thread, err))
    if state.phase ~= "closed" then close.close(state, 1011, "", "handler error") end
  elseif coroutine.status(thread) == "dead" and state.phase ~= "closed" then
    close.close(state, 1000, "")
  end
end

-- PUC Lua 5.1 cannot yield in the iterator of a for loop.
local CANNOT = "Lua 5.1 cannot wait in a for loop; write: local opcode, data = conn:message()"

-- What waits for a message is the connection's coroutine, and one of others would take its place.
local ELSEWHERE = "only the function of server.spawn can wait for messages of its connection"

--- spawn(f): returns a handler for on_open, which runs f(conn, request) as a coroutine. In it, conn:message() waits for
-- the next message, and returns its opcode and its data; nil at the end. conn:messages() iterates over them.
function pull.spawn(f)
  if not guard.is_callable(f) then
    error(("bad argument #1 to 'spawn' (function expected, got %s)"):format(type(f)), 2)
  end
  return function(conn, request)
    local elsewhere = worlds.part(conn, "server/pull")
    if elsewhere then return elsewhere.spawn(f)(conn, request) end
    local state, queue, is_waiting, is_over = quick.state_of(conn), new_queue(), false, false
    local thread = coroutine.create(function() return f(conn, request) end)
    local given = state.exchange.handlers

    local function wake()
      if is_waiting and coroutine.status(thread) == "suspended" then
        is_waiting = false
        resume(conn, thread)
      end
    end

    function conn.msghandler(_, opcode, data)
      if coroutine.status(thread) == "dead" then return end
      queue:push { opcode, data }
      wake()
      queue:hold(conn, MOST_MESSAGES)
    end

    local handlers = { on_drain = given.on_drain }
    function handlers.on_close(...)
      is_over = true
      wake()
      if given.on_close then given.on_close(...) end
    end
    state.exchange.handlers = handlers

    local function next_message()
      local status = coroutine.status(thread)
      if status == "suspended" or status == "dead" then error(ELSEWHERE, 2) end
      local message = queue:pop()
      while not message do
        queue:release()
        if is_over then return nil end
        is_waiting = true
        coroutine.yield()
        message = queue:pop()
      end
      return message[1], message[2]
    end

    conn.message = next_message
    function conn.messages()
      if not guard.can_yield then error(CANNOT, 2) end
      return next_message
    end

    resume(conn, thread)
  end
end

return pull
