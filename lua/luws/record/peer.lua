--[[
Plays the peer of a recording for a server of luws.mock: it says what the recorded peer said, after as many messages of
the client's as that had heard, and after the same time. What the client says is compared with what was said then, if
that is wanted.
--]]

local _, import = ...
local replay, rows, tree = import("record/replay"), import("record/rows"), import("record/tree")

local peer = {}

--- Returns the part of a URL by which a recorded connection is found: host, port and path.
local function place_of(url) return tostring(url):match "^%w+://([^?#]*)" end

--- Returns the names of the connections to a URL; nil if there are none, which means all of them.
local function names_of(recording, url)
  local names
  for row in recording:rows { dir = "out", kind = "open" } do
    if place_of(row.url) == place_of(url) then
      names = names or {}
      names[row.conn] = true
    end
  end
  return names
end

--- Notes that the peer hears what a row says was sent; `taken` are the messages of the connection's outbox.
local function hear(session, row, taken)
  local id, was_heard = row.id, nil
  if row.kind == "resend" then
    was_heard, row = row.first and session.heard_ids[id], taken and taken[id]
  elseif row.kind ~= "send" or row.error ~= nil then
    return
  end
  if was_heard or not row then return end -- where an outbox could not send at once, it was heard too early
  table.insert(session.heard, row)
  if id then session.heard_ids[id] = true end
end

--- sessions(recording, url): returns a list of what was said in each connection to a URL, in the order in which they
-- were opened. Each has opened (the row), or refused; heard, the rows of the messages that the peer heard; and steps {
-- row, after (how many messages it had heard by then), delay (seconds) }.
function peer.sessions(recording, url)
  local names, list, present = names_of(recording, url), {}, {}
  local taken = {} -- the messages of outboxes, by the name of the connection and the id
  local function begin(name, session)
    session.steps, session.heard, session.heard_ids, session.name = {}, {}, {}, name
    list[#list + 1], present[name] = session, session
    return session
  end
  for row in recording:rows() do
    local name, kind, dir = row.conn, row.kind, row.dir
    if rawget(row, "ack") == "pending" then
      taken[name] = taken[name] or {}
      taken[name][row.id] = row
    end
    if dir and (not names or names[name]) then
      local session = present[name]
      if dir == "in" and kind == "open" then
        begin(name, { opened = row, t = row.t })
      elseif not session and dir == "in" and kind == "close" then
        begin(name, { refused = row })
        present[name] = nil
      elseif session then
        if dir == "out" then
          hear(session, row, taken[name])
        else
          session.steps[#session.steps + 1] = { row = row, after = #session.heard, delay = row.t - session.t }
        end
        session.t = row.t
        if kind == "close" then present[name] = nil end
      end
    end
  end
  return list
end

local say = {}

function say.message(here, row) here:send(row.data or "", row.binary and "binary" or "text") end
function say.ping(here, row) here:ping(row.data) end

function say.close(here, row)
  if row.code == 1006 then
    here:drop()
  else
    here:close(row.code ~= 1005 and row.code or nil, row.reason)
  end
end

local Script = {}
Script.__index = Script

--- new(recording, url, compares): returns a script for a server. `compares`: the client has to say what was said.
function peer.new(recording, url, compares)
  return setmetatable({
    recording = recording, sessions = peer.sessions(recording, url), compares = compares, begun = 0, playing = {},
  }, Script)
end

--- answer(): returns what the next request is answered: a refusal, the subprotocol, or nil.
function Script:answer()
  self.begun = self.begun + 1
  local session = self.sessions[self.begun]
  if not session then return nil end
  if session.refused then return { status = session.refused.status or 503 } end
  return session.opened.protocol and { protocol = session.opened.protocol } or nil
end

--- Says what is to be said now.
local function go_on(play)
  local step = play.session.steps[play.at]
  if play.is_waiting or not step or step.after > play.heard then return end
  play.is_waiting = true
  play.clock.after(step.delay, function()
    play.is_waiting, play.at = false, play.at + 1
    local f = say[step.row.kind]
    if f then f(play.peer, step.row) end
    go_on(play)
  end, "a recorded peer")
end

--- expect(script, here, session): has a peer fail the test if its client does not say what was said.
local function expect(script, here, session)
  for _, row in ipairs(session.heard) do
    here:expect(function(data, kind)
      local fields = rows.put_data({ out = "send", conn = row.conn }, data, kind == "binary")
      if replay.is_same(row, rows.new(script.recording:kept(fields))) then return true end
      return nil, ("is not row %d: %s"):format(row.row, tree.line(row))
    end)
  end
end

--- happened(here, event): the peer has a connection, or a message.
function Script:happened(here, event)
  if event == "open" then
    local session = self.sessions[self.begun]
    if not session or session.refused then return end
    if self.compares then expect(self, here, session) end
    self.playing[here] = {
      peer = here, session = session, at = 1, heard = 0, is_waiting = false, clock = here.net.clock,
    }
  end
  local play = self.playing[here]
  if not play then return end
  if event == "message" then
    play.heard = play.heard + 1
    if self.compares and play.heard > #play.session.heard then
      here.net:failed(("%s: message %d is not in the recording"):format(here.who, play.heard))
    end
  end
  if event == "close" then
    self.playing[here] = nil
  else
    go_on(play)
  end
end

return peer
