--[[
Runs a replay of a recording, and lets it go on from there: with a live connection in the place of each that was open at
the end of the rows.
--]]

local _, import = ...
local guard = import("guard")
local fold, player, stand_ins, tap = import("record/fold"), import("record/replay").player, import("record/stand_in"),
  import("record/tap")

--- Returns the URL to which a connection was opened last, as it was recorded.
local function url_of(recording, name)
  local url
  for row in recording:rows { conn = name, dir = "out", kind = "open" } do url = row.url end
  return url and (url:gsub("%?%(hidden%)$", ""))
end

--- Returns the options for a live connection, and its URL. `live` is a table, or a function of name and URL.
local function place_for(recording, name, live)
  local options, url = live, url_of(recording, name)
  if guard.is_callable(live) and type(live) ~= "table" then
    local other
    options, other = live(name, url)
    url = other or url
  end
  local copy = {}
  for key, value in next, type(options) == "table" and options or {} do copy[key] = value end
  if copy.url then url, copy.url = copy.url, nil end
  return copy, url
end

--- Opens a connection in the place of each that is open. Returns true; or nil and why not.
local function go_live(recording, playing, live)
  for name, conn in pairs(playing.conns) do
    if conn.connected then
      local options, url = place_for(recording, name, live)
      local handlers = playing.handlers[name] or {}
      for key, value in next, handlers do
        if key ~= "handler" then options[key] = value end
      end
      recording.ends[name] = { stand_in = conn }
      local opened, why = tap.wsopen(recording, name, url, conn.msghandler or handlers.handler, options)
      if not opened then return nil, why end
      stand_ins.go_on(conn, opened)
      recording.live[name] = conn
    end
  end
  for _, act in ipairs(playing.later) do act[1](playing.conns[act[2]], act[3], act[4]) end
  return true
end

--- rerun(recording, last, options): replays the rows up to a place. Returns true and how many rows were played; or nil,
-- the first difference as text, and as a table.
return function(recording, last, options)
  if recording.player then return nil, "it is being replayed already" end
  if recording.store.first > 1 then return nil, "its first rows are not in memory any more; load the file" end
  local playing = player(recording, last, options)
  playing.memo = fold.memo(recording.fold)
  local random_state = recording.random_state
  recording.player, recording.random_state = playing, recording:first_random()
  local ok, played, count, difference = pcall(playing.run, playing)
  recording.player = nil
  if not options.live then recording.random_state = random_state end
  if not ok then error(played, 0) end
  if not played then return nil, count, difference end
  if options.live then
    local live, why = go_live(recording, playing, options.live)
    if not live then return nil, why end
  end
  return true, count
end
