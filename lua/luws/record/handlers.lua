--[[
Handlers as data: functions of the state and a row that return what is to be done, as a list of effects. The driver
performs them, and they become rows; in a replay they are compared instead. A row that comes while a handler is being
called waits for its turn, so no handler is ever called within another.

An effect is { out = "send", conn =, text = or binary = }, { out = "ping" or "pong", conn =, text = },
{ out = "close", conn =, code =, reason = }, { out = "open", conn =, url =, protocols = }, { note = } or { call = NAME,
... }, which is a row for the handlers of that name.
--]]

local native, import = ...
local guard, log = import("guard"), import("log")
local rows, tap = import("record/rows"), import("record/tap")

local handlers = {}

local OPCODES = { send = 1, ping = 9, pong = 10 }

-- What may be in a queue at most. A handler that calls itself without end is stopped there.
local MOST = 100000

local function number_of(effect)
  if effect.out == "send" and type(effect.binary) == "string" then return 2 end
  return OPCODES[effect.out]
end

--- Returns whether a table is an effect, or meant as one.
local function is_effect(value) return value.out ~= nil or value.call ~= nil or value.note ~= nil end

--- Returns what is wrong with an effect, or nil.
local function mistake(effect)
  if type(effect) ~= "table" then return "an effect is a table, got " .. type(effect) end
  local out = effect.out
  if out == nil and is_effect(effect) then
    local reserved = effect.call ~= nil and rows.reserved(effect)
    if reserved then return ("the field '%s' is not a call's"):format(reserved) end
    return rows.mistake { call = effect.call }
  end
  if effect.call ~= nil or effect.note ~= nil then return "an effect has one of out, call and note" end
  if not (OPCODES[out] or out == "close" or out == "open") then
    return "an effect has out = 'send', 'ping', 'pong', 'close' or 'open', or call, or note"
  end
  if type(effect.conn) ~= "string" then return "an effect names its connection (conn)" end
  if out == "open" and type(effect.url) ~= "string" then return "an effect that opens has a url" end
  if out == "send" and type(effect.text or effect.binary) ~= "string" then
    return "an effect that sends has text or binary"
  end
end

--- fields_of(effect): returns the fields of the row that an effect becomes.
local function fields_of(effect)
  local fields = {}
  for key, value in next, effect do fields[key] = value end
  if effect.call ~= nil then return fields end -- they are the program's
  local data = fields.text or fields.binary
  fields.text, fields.binary = nil, nil
  if type(data) == "string" then rows.put_data(fields, data, type(effect.binary) == "string") end
  if effect.out == "close" then fields.code, fields.reason = fields.code or 1000, fields.reason or "" end
  return fields
end

--- Writes down why an effect could not be performed.
local function failed(recording, effect, why)
  local fields = fields_of(effect)
  fields.error = why
  recording:add(fields)
end

local perform = {}

local function transmit(recording, effect)
  local here = recording.ends[effect.conn]
  local ok, why = tap.send(here, number_of(effect), effect.text or effect.binary or "")
  local is_written = ok or here and here.ref[1] and not here.is_object
  if not is_written then failed(recording, effect, why) end
end

perform.send, perform.ping, perform.pong = transmit, transmit, transmit

function perform.close(recording, effect)
  local ok, why = tap.close(recording.ends[effect.conn], effect.code, effect.reason)
  if not ok then failed(recording, effect, why) end
end

function perform.open(recording, effect)
  local options = {}
  for key, value in next, recording.options_given or {} do options[key] = value end
  options.subprotocols, options.wait = effect.protocols or options.subprotocols, false
  local target, why = native.parse_url(effect.url)
  if target then return tap.wsopen(recording, effect.conn, effect.url, nil, options) end
  failed(recording, effect, why)
end

--- Does what an effect says; or compares it, in a replay.
local function act(recording, effect)
  local player = recording.player
  if player and player:is_beyond() then
    player:postpone(function() act(recording, effect) end)
  elseif player then
    local fields = fields_of(effect)
    player:got(fields)
    if effect.call ~= nil then recording:tell(rows.new(fields)) end
  elseif effect.call ~= nil or effect.note ~= nil then
    recording:tell(recording:add(fields_of(effect)))
  else
    perform[effect.out](recording, effect)
  end
end

--- Calls a handler, and does what it returns.
local function call(recording, name, f, row)
  local ok, effects = guard.free(f, recording:state_at(row), row)
  if not ok then
    return log.handler_failed(("the handler '%s' of a record raised an error"):format(name), effects)
  end
  if effects == nil then return end
  if type(effects) == "table" and is_effect(effects) then effects = { effects } end
  for _, effect in ipairs(type(effects) == "table" and effects or { effects }) do
    local wrong = mistake(effect)
    if wrong then
      log.warning("the handler '%s' of a record returned what cannot be done: %s", name, wrong)
    else
      act(recording, effect)
    end
  end
end

local function turn(recording)
  local queue = recording.queue
  while queue.first <= queue.last do
    local row = queue[queue.first]
    queue[queue.first], queue.first = nil, queue.first + 1
    local name = rawget(row, "call") or row.kind
    for _, f in ipairs(recording.named[name] or {}) do call(recording, name, f, row) end
  end
end

--- tell(recording, row): has the handlers for a row called; once those that are being called are done.
function handlers.tell(recording, row)
  local queue = recording.queue
  if not recording.named then return end
  if queue.last - queue.first >= MOST then
    return log.warning("the handlers of a record go on and on: row %s is not told", tostring(row.row))
  end
  queue.last = queue.last + 1
  queue[queue.last] = row
  if queue.is_told then return end
  queue.is_told = true
  local thread, before = recording:enter()
  local ok, err = pcall(turn, recording)
  recording:leave(thread, before)
  queue.is_told = false
  if not ok then error(err, 0) end
end

--- on(recording, name, f): has f called for rows of this kind, or for those that are calls of this name.
function handlers.on(recording, name, f)
  recording.named = recording.named or {}
  local list = recording.named[name] or {}
  recording.named[name] = list
  list[#list + 1] = f
end

return handlers
