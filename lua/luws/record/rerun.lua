--[[
Runs a replay of a recording, and lets it go on from there: with a live connection in the place of each that was open at
the end of the rows.
--]]

local native, import = ...
local guard = import("guard")
local luws = import("luws")
local player, stand_ins, tap = import("record/replay").player, import("record/stand_in"), import("record/tap")

--- Returns the URL to which a connection was opened last, without what was hidden of it; nil if that is not known.
local function url_of(recording, name)
  local url
  for row in recording:rows { conn = name, dir = "out", kind = "open" } do url = row.url end
  return url and (url:gsub("%?%(hidden%)", ""):gsub("//%(hidden%)@", "//"))
end

--- Returns the options for a live connection, and its URL; or nil and why it cannot be opened. `live` is a table, or a
-- function of name and URL.
local function place_for(recording, name, live)
  local options, url = live, url_of(recording, name)
  if guard.is_callable(live) then
    local other
    options, other = live(name, url)
    url = other or url
  end
  if type(options) ~= "table" then return nil, "its live options are a " .. type(options) end
  local copy = {}
  for key, value in next, options do copy[key] = value end
  if copy.url then url, copy.url = copy.url, nil end
  if type(url) ~= "string" then return nil, "its URL was not recorded (live.url)" end
  local target, wrong = native.parse_url(url)
  local why = not target and wrong or tap.refusal(copy)
  if why then return nil, why end
  return copy, url
end

--- Opens a connection for a stand-in. Returns true; or nil and why not.
local function open(recording, name, url, f, options, conn)
  recording.ends[name] = { stand_in = conn }
  local opened, why = tap.wsopen(recording, name, url, f, options)
  if not opened then return nil, why end
  stand_ins.go_on(conn, opened)
  recording.live[name] = conn
  return true
end

--- Opens a connection in the place of one that was open. Returns true; or nil and why not.
local function go_on(recording, playing, conn, live)
  local name = stand_ins.name_of(conn)
  local options, url = place_for(recording, name, live)
  if not options then return nil, url end
  local handlers = playing.handlers[name] or {}
  for key, value in next, handlers do
    if key ~= "handler" then options[key] = value end
  end
  return open(recording, name, url, conn.msghandler or handlers.handler, options, conn)
end

--- Opens a connection in the place of each that is open, in the order in which they were. Returns true; or nil and why
-- not, and then none is open.
local function go_live(recording, playing, live)
  local gone = {}
  for _, conn in ipairs(playing.order) do
    if conn.connected then
      local ok, why = go_on(recording, playing, conn, live)
      if not ok then
        for _, other in ipairs(gone) do luws.wsclose(other) end
        return nil, ("'%s' cannot go on live: %s"):format(stand_ins.name_of(conn), why)
      end
      gone[#gone + 1] = conn
    end
  end
  function playing.open(...) return open(recording, ...) end
  for _, act in ipairs(playing.later) do act() end
  return true
end

--- Returns why a recording cannot be replayed now, or nil.
local function obstacle(recording, speed)
  if recording.player then return "it is being replayed already" end
  if recording.queue.is_told then return "a handler of the recording must not replay it" end
  if recording.store.first > 1 then return "its first rows are not in memory any more; load the file" end
  if (speed or 0) == 0 then return nil end
  for name, here in pairs(recording.ends) do
    if here.is_open then return ("'%s' is open, and would go on meanwhile (speed)"):format(name) end
  end
end

--- rerun(recording, last, options): replays the rows up to a place. Returns true and how many rows were played; or nil,
-- the first difference as text, and as a table.
return function(recording, last, options)
  local why = obstacle(recording, options.speed)
  if why then return nil, why end
  local playing = player(recording, last, options)
  local random_state = recording.random_state
  recording.player, recording.random_state = playing, recording:first_random()
  local ok, played, count, difference = pcall(playing.run, playing)
  recording.player = nil
  if not options.live then recording.random_state = random_state end
  if not ok then error(played, 0) end
  if not played then return nil, count, difference end
  if options.live then
    ok, why = go_live(recording, playing, options.live)
    if not ok then return nil, why end
  end
  return true, count
end
