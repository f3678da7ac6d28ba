--[[
To whom and how something is sent: rooms, exceptions and flags, which are added one by one, each time to a new object.
--]]

local _, import = ...
local acks, arguments = import("socketio/acks"), import("socketio/arguments")
local check_self = import("emitter").check_self
local failure, guard = import("socketio/failure"), import("guard")
local json, parser, views = import("json").public, import("socketio/parser"), import("socketio/view")

local operators = {}

local Operator, meta = {}, {}

--- names(method, value): returns a room, or a list of them, as a list.
function operators.names(method, value)
  local list = type(value) == "table" and value or { value }
  if list[1] == nil and type(value) ~= "table" then
    error(("bad argument #1 to '%s' (name of a room expected, got no value)"):format(method), 0)
  end
  local count = 0
  for place, name in pairs(list) do
    count = count + 1
    -- A set, as the rooms of a socket are, must not be taken for a list of none, which would mean everybody.
    if list[count] == nil then
      error(("bad argument #1 to '%s' (list of rooms expected, got a table with the key %s)"):format(method,
        tostring(place)), 0)
    end
    if type(name) ~= "string" and type(name) ~= "number" then
      error(("bad argument #1 to '%s' (name of a room expected, got %s)"):format(method, type(name)), 0)
    end
  end
  return list
end

--- changed(self, field, value): returns a copy with another value of a field.
local function changed(self, field, value)
  local copy = { adapter = self.adapter, rooms = self.rooms, excepted = self.excepted, flags = self.flags }
  copy[field] = value
  return setmetatable(copy, meta)
end

--- united(set, list): returns a set with more names.
local function united(set, list)
  local copy = {}
  for name in pairs(set) do copy[name] = true end
  for _, name in ipairs(list) do copy[name] = true end
  return copy
end

--- to(room), its alias ["in"](room): also to this room, or to these.
function Operator:to(room) return changed(self, "rooms", united(self.rooms, operators.names("to", room))) end

Operator["in"] = Operator.to

--- except(room): not to those in this room, or in these.
function Operator:except(room)
  return changed(self, "excepted", united(self.excepted, operators.names("except", room)))
end

--- timeout(ms): with so much time for acknowledgements.
function Operator:timeout(ms)
  return changed(self, "flags", views.with(self.flags, "timeout", views.seconds("timeout", ms)))
end

--- compress(on): compressed or not.
function Operator:compress(on)
  return changed(self, "flags", views.with(self.flags, "compress", on and true or false))
end

--- opts_of(self): returns the adapter's options for this operator: who is to receive an event, and how it is sent.
local function opts_of(self) return { rooms = self.rooms, except = self.excepted, flags = self.flags } end

--- broadcast(self, flags, ack, name, ...): sends an event.
local function broadcast(self, _, ack, name, ...)
  local packet = { data = arguments.pack(name, ...) }
  if not ack then
    self.adapter:broadcast(packet, opts_of(self))
    return true
  end
  local seconds = self.flags.timeout
  if not seconds then error("a broadcast that is to be acknowledged needs a time: use timeout(ms)", 0) end
  local reactor, answers, timer = self.adapter.nsp.server.reactor, json.array(), nil
  local expected, stop
  local function finish(err)
    if timer then timer:cancel() end
    acks.call(ack, err, answers)
  end
  expected, stop = self.adapter:broadcastWithAck(packet, opts_of(self), function(answer)
    answers[#answers + 1] = answer == nil and json.null or answer
    if #answers == expected then finish(nil) end
  end)
  timer = reactor.after(expected > 0 and seconds or 0, function()
    stop()
    finish(expected > 0 and failure.new "operation has timed out" or nil)
  end)
  return true
end

--- emit(name, ...): sends an event. If the last argument is a function, it is called once all have answered, as
-- f(err, answers).
function Operator:emit(name, ...)
  parser.check_name(name)
  return arguments.split(broadcast, self, nil, name, ...)
end

--- send(...): sends the event "message".
function Operator:send(...) return self:emit("message", ...) end

Operator.write = Operator.send

--- emitWithAck(name, ...): sends an event and waits for all answers. Returns true and a list of them; or nil and an
-- error.
function Operator:emitWithAck(name, ...)
  parser.check_name(name)
  local given = arguments.pack(name, ...)
  return views.await(self.adapter.nsp.server.reactor, function(done)
    broadcast(self, nil, done, guard.unpack(given, 1, given.n))
  end)
end

--- fetchSockets(): returns a list of the sockets.
function Operator:fetchSockets() return self.adapter:fetchSockets(opts_of(self)) end

--- socketsJoin(room), socketsLeave(room): have the sockets join or leave a room, or rooms.
function Operator:socketsJoin(room) self.adapter:addSockets(opts_of(self), operators.names("socketsJoin", room)) end

function Operator:socketsLeave(room) self.adapter:delSockets(opts_of(self), operators.names("socketsLeave", room)) end

--- disconnectSockets([close]): disconnects the sockets; with `close`, their connections.
function Operator:disconnectSockets(close) self.adapter:disconnectSockets(opts_of(self), close) end

-- The methods that operators have.
local checked = {}
for name, method in pairs(Operator) do
  checked[name] = function(self, ...)
    check_self(self, name)
    return method(self, ...)
  end
end

--- A flag as a field: returns a copy that has it.
local flags = { volatile = "volatile", ["local"] = "local", localOnly = "local" }

function meta:__index(key)
  local flag = flags[key]
  if flag then return changed(self, "flags", views.with(self.flags, flag, true)) end
  return checked[key]
end

--- new(adapter [, flags [, except]]): everybody in a namespace, but for the set `except`.
function operators.new(adapter, given, except)
  return setmetatable({ adapter = adapter, rooms = {}, excepted = except or {}, flags = given or {} }, meta)
end

--- extend(class, find): gives a class the methods; find(self) returns the operator that they begin with. Returns a
-- function of (self, key), which returns a view for the name of a flag.
function operators.extend(class, find)
  for name, method in pairs(Operator) do
    class[name] = function(self, ...)
      check_self(self, name)
      return method(find(self), ...)
    end
  end
  return function(self, key) return flags[key] and find(self)[key] end
end

return operators
