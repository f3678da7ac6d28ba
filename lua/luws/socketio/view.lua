--[[
What a socket of either role has for sending: emit and its relatives, and views, through which events are sent with
flags. What sending means is the role's.
--]]

local _, import = ...
local arguments, failure, guard = import("socketio/arguments"), import("socketio/failure"), import("guard")
local check_self = import("emitter").check_self
local parser, waiting = import("socketio/parser"), import("socketio/waiting")

local views = {}

local unpack = guard.unpack
local NO_FLAGS = {}

--- with(flags, name, value): returns a copy of flags with one more.
function views.with(flags, name, value)
  local copy = {}
  for flag, set in pairs(flags) do copy[flag] = set end
  copy[name] = value
  return copy
end

--- seconds(method, ms): returns a time that a method was given in milliseconds, in seconds.
function views.seconds(method, ms)
  if type(ms) == "number" and ms >= 0 then return ms / 1000 end
  error(("bad argument #1 to '%s' (milliseconds expected, got %s)"):format(method, tostring(ms)), 0)
end

--- options(flags): returns the engine's options for a packet.
function views.options(flags) return flags.compress ~= nil and { compress = flags.compress } or nil end

local function answered(ok, err, ...)
  if not ok then return nil, failure.new(err) end
  if err ~= nil then return nil, err end
  return true, ...
end

--- await(reactor, start): does the work of emitWithAck: start(done) sends an event whose answer is given to
-- done(err, ...). Returns true and the answer; or nil and an error.
function views.await(reactor, start) return answered(waiting.await(reactor, "emitWithAck", start)) end

--- extend(class, role): gives a class the methods. role.dispatch(socket, flags, ack, name, ...) sends an event, and
-- returns the socket, or nil and why not; role.reactor(socket) returns what to wait with. role.methods are further
-- methods and role.getters further fields that views have as well, as f(socket, flags, ...); role.fields are fields of
-- the socket alone, as f(socket). Returns the metatable of sockets.
function views.extend(class, role)
  local View, meta = {}, {}

  local function view(socket, flags) return setmetatable({ socket = socket, flags = flags }, meta) end

  local function emit(socket, flags, name, ...)
    parser.check_name(name)
    return arguments.split(role.dispatch, socket, flags, name, ...)
  end

  local function emit_with_ack(socket, flags, name, ...)
    parser.check_name(name)
    local given = arguments.pack(name, ...)
    flags = views.with(flags, "wants_error", true)
    return views.await(role.reactor(socket), function(done)
      local ok, why = role.dispatch(socket, flags, done, unpack(given, 1, given.n))
      if not ok then done(failure.new(why)) end
    end)
  end

  local methods = {
    emit = emit,
    send = function(socket, flags, ...) return emit(socket, flags, "message", ...) end,
    emitWithAck = emit_with_ack,
    timeout = function(socket, flags, ms)
      return view(socket, views.with(flags, "timeout", views.seconds("timeout", ms)))
    end,
    compress = function(socket, flags, on) return view(socket, views.with(flags, "compress", on and true or false)) end,
  }
  methods.write = methods.send
  for name, f in pairs(role.methods or {}) do methods[name] = f end
  for name, f in pairs(methods) do
    class[name] = function(self, ...)
      check_self(self, name)
      return f(self, NO_FLAGS, ...)
    end
    View[name] = function(self, ...)
      check_self(self, name)
      return f(self.socket, self.flags, ...)
    end
  end
  local getters = { volatile = function(socket, flags) return view(socket, views.with(flags, "volatile", true)) end }
  for name, f in pairs(role.getters or {}) do getters[name] = f end

  function meta:__index(key)
    local getter = getters[key]
    if getter then return getter(self.socket, self.flags) end
    return View[key]
  end

  local object, fields = {}, role.fields

  function object:__index(key)
    local method = class[key]
    if method ~= nil then return method end
    local field = fields[key]
    if field then return field(self) end
    local getter = getters[key]
    return getter and getter(self, NO_FLAGS)
  end

  return object
end

return views
