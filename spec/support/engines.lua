-- Engines of Engine.IO in memory, for specs of what is above them: the spec plays the other end.
--
--   local e = engines.new(w)                  -- in a world (world.lua): its clients get such engines from now on
--   local socket = e.io("http://a.test")
--   local engine = e:last()                   -- what the client has made
--   engine:open()                             -- tells the client so, in the next turn of the reactor
--   engine:say("40", '0{"sid":"1"}')          -- messages from the server
--   e:turn()                                  -- has the reactor do what is due
--   engine:heard()                            -- the messages of the client since the last call
--
--   local server = e.io.server {}
--   local conn = e:accept()                   -- a client's engine, for the server; say() and heard() as above
--
-- It knows the interface of engines, and nothing of Socket.IO.

local unpack = require "spec.support.compat".unpack

local engines = {}

local Engine = {}

--- Has an event told to the client in the next turn.
local function tell(engine, ...)
  local count, args = select("#", ...), { ... }
  engine.world.reactor.after(0, function()
    engine.emit(engine, unpack(args, 1, count))
  end)
  return engine
end

function Engine:open()
  return tell(self, "open")
end

function Engine:say(...)
  for _, message in ipairs { ... } do tell(self, "message", message) end
  return self
end

function Engine:ping() return tell(self, "ping") end

--- fail(message): the engine could not be opened.
function Engine:fail(message) return tell(self, "error", { message = message }) end

--- lose(reason [, details]): the connection is lost.
function Engine:lose(reason, details)
  self.readyState = "closed"
  return tell(self, "close", reason, details)
end

--- heard(): returns the messages that the other side has sent since the last call.
function Engine:heard()
  local sent = self.sent
  self.sent = {}
  return sent
end

function Engine:hasPingExpired() return self.has_expired or false end

function Engine:send(data, options)
  if self.readyState == "closed" then return end
  self.sent[#self.sent + 1] = data
  self.options[#self.sent] = options or false
end

function Engine:close()
  if self.readyState == "closed" then return end
  self.readyState = "closed"
  self.is_closed = true
end

local Engines = {}
Engines.__index = Engines

--- last(): returns the engine that was made last.
function Engines:last() return self.made[#self.made] end

--- turn([seconds]): has the reactor do what is due until nothing is, or during that time.
function Engines:turn(seconds)
  local reactor = self.world.reactor
  reactor.after(seconds or 0, function()
    if seconds then reactor.stop() else reactor.after(0, reactor.stop) end
  end)
  reactor.run()
end

--- connected([opts [, url]]): returns a client's socket that is connected as "s1", its engine, and a list of what it is
-- told from now on. A URL is one with the namespace "/x".
function Engines:connected(opts, url)
  local socket = self.io(url or "http://a.test", opts)
  local engine = self:last()
  engine:open():say((url and "0/x," or "0") .. '{"sid":"s1"}')
  self:turn()
  engine:heard()
  return socket, engine, engines.note(socket, {}, "connect", "connect_error", "disconnect")
end

--- client(server [, nsp [, auth [, fields]]]): returns a client's engine that is in a namespace of a server ("/" by
-- default), and the server's socket. `auth` is JSON; the fields are for accept.
function Engines:client(server, nsp, auth, fields)
  local socket
  local namespace = server:of(nsp or "/")
  local function hold(new) socket = new end
  namespace:on("connection", hold)
  local conn = self:accept(fields)
  conn:say("0" .. (nsp and nsp .. "," or "") .. (auth or ""))
  self:turn()
  namespace:off("connection", hold)
  conn:heard()
  return conn, socket
end

--- note(object, list, name, ...): notes in a list what an object is told: the name of the event and its arguments,
-- errors as their messages. Returns the list.
function engines.note(object, list, ...)
  for _, name in ipairs { ... } do
    object:on(name, function(...)
      local row = { name, ... }
      for i = 2, #row do
        if type(row[i]) == "table" and row[i].message then row[i] = row[i].message end
      end
      list[#list + 1] = row
    end)
  end
  return list
end

--- take(list): returns what is in a list, which is empty from then on.
function engines.take(list)
  local taken = {}
  for i, row in ipairs(list) do taken[i], list[i] = row, nil end
  return taken
end

--- pack(...): returns the arguments as an array, and their number as its field n.
function engines.pack(...) return { n = select("#", ...), ... } end

--- new(w): has the clients of a world get such engines.
function engines.new(w)
  local emitter, interface = w.import "emitter", w.import("engineio").public
  local class = {}
  for name, method in pairs(Engine) do class[name] = method end
  emitter.extend(class)
  class.__index = class
  local self = setmetatable({ world = w, made = {} }, Engines)
  function interface.connect(uri, options)
    local engine = setmetatable({
      world = w, emit = emitter.emit, uri = uri, given = options, made_at = w.clock.now(),
      readyState = "opening", sent = {}, options = {},
      transport = { name = "websocket", writable = true },
    }, class)
    self.made[#self.made + 1] = engine
    return engine
  end
  local count = 0
  local function serve(options)
    local server = setmetatable({ port = options.port or 1, given = options, is_closed = false }, class)
    function server.close() server.is_closed = true end
    function server.multicast(_, list, data, sent_with)
      for _, conn in ipairs(list) do conn:send(data, sent_with) end
    end
    self.server = server
    return server
  end
  interface.listen = serve
  function interface.attach(srv, options)
    local server = serve(options)
    server.srv = srv
    return server
  end
  --- accept([fields]): a client has opened an engine of the server. The fields override those of the engine.
  function self.accept(_, fields)
    count = count + 1
    local conn = setmetatable({
      world = w, emit = emitter.emit, readyState = "open", sent = {}, options = {},
      id = "engine" .. count, protocol = 4,
      request = { headers = {} }, remoteAddress = "192.0.2.1", transport = { name = "websocket", writable = true },
    }, class)
    for name, value in pairs(fields or {}) do conn[name] = value end
    emitter.emit(self.server, "connection", conn)
    return conn
  end
  self.io = w.import("socketio").public
  return self
end

return engines
