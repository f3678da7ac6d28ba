--[[
A client's transport by HTTP requests: one GET at a time brings packets, one POST at a time takes them along. Does not
know what packets mean, except those that begin and end the transport.

Transports have the same methods (open, send, pause, close) and call the functions in `on`: open(), packet(kind, data),
drain(), error(err), close(details), always from a turn of the reactor.
--]]

local _, import = ...
local failure, http, json = import("engineio/failure"), import("http").public, import("json").public
local packets, payload = import("engineio/packets"), import("engineio/payload")
local main_reactor = import("reactor").public

local polling = {}

local Polling = { name = "polling" }
Polling.__index = Polling

local function ignored() end
local NOBODY = { open = ignored, packet = ignored, drain = ignored, error = ignored, close = ignored }

--- new(place): makes the transport to a place.
function polling.new(place)
  return setmetatable({
    place = place, on = nil, reactor = place.shared.reactor or main_reactor,
    state = "closed", -- opening, open, pausing, paused, closed
    writable = false, -- it takes packets now
    poll = nil, post = nil, -- the requests that are under way
    is_taking = false, -- the packets of an answer are being told
    on_paused = nil, -- what is to be called once it is paused
    patience = nil, -- how long the end waits for the server
  }, Polling)
end

-- Engine.IO 3 begins its payloads with a length.
local REVISION_3 = "^%d+:0{"

-- What people have to know about some of the errors of a server, by their codes.
local HINTS = {
  [0] = "; it does not take polling, so leave that out of the option transports",
  [5] = "; this client speaks Engine.IO 4, as Socket.IO 3 and 4 do, and the server does not",
}

--- words(response): returns an error message for people, made from a response that is not 200.
local function words(response)
  local answer = json.decode(response.body)
  if type(answer) ~= "table" or type(answer.message) ~= "string" then
    return ("the server has answered %d %s"):format(response.status, response.reason)
  end
  return ("the server has answered %d: %s%s"):format(response.status, answer.message, HINTS[answer.code] or "")
end

--- fail(self, err): nothing more can come, or be sent.
local function fail(self, err)
  local on = self.on
  self:discard()
  on.error(err)
end

--- request(self, kind, options, f): makes a request of this kind, "poll" or "post"; f(body) is called with its answer.
local function request(self, kind, options, f)
  local function ended(response, why)
    self[kind] = nil
    if response and response.status == 200 then return f(response.body) end
    local context = response and { status = response.status, responseText = response.body }
    fail(self, failure.new(("xhr %s error"):format(kind), response and words(response) or why, context))
  end
  local timeout = self.place.own.requestTimeout
  options.timeout = timeout > 0 and timeout or math.huge
  options.headers = self.place:headers(options.headers)
  local why
  self[kind], why = http.request(self.place:url "polling", self.place:options(options), ended)
  if self[kind] then return end
  self[kind] = self.reactor.after(0, function() ended(nil, why) end)
end

--- rest(self): goes on pausing: that is over when no request is under way, and all that has come was told.
local function rest(self)
  if self.state ~= "pausing" or self.poll or self.post or self.is_taking then return end
  self.state = "paused"
  self.on_paused()
end

local poll

--- told(self, kind, data, body): a packet has come, in this body. Returns false after the last that counts.
local function told(self, kind, data, body)
  if self.state == "closed" then return false end
  if self.state == "opening" and kind == "open" then
    self.state, self.writable = "open", true
    self.on.open()
  end
  if kind == "close" then
    local on = self.on
    self:discard()
    on.close { description = "transport closed by the server" }
    return false
  end
  if kind == "error" then
    local hint = body:find(REVISION_3) and "it is one of Engine.IO 3, as Socket.IO 1 and 2 have; this client speaks "
      .. "Engine.IO 4" or "the server's answer has something in it that is no packet"
    fail(self, failure.new("server error", hint))
    return false
  end
  self.on.packet(kind, data)
end

--- take(self, body): tells of the packets in an answer.
local function take(self, body)
  self.is_taking = true
  local function tell(kind, data) return told(self, kind, data, body) end
  payload.each(self.reactor, packets.each(body), tell, function()
    self.is_taking = false
    if self.state == "open" then poll(self) else rest(self) end
  end)
end

function poll(self)
  request(self, "poll", { max_body = self.place.own.max_payload_size }, function(body) take(self, body) end)
end

function Polling:open()
  self.state = "opening"
  poll(self)
end

local function post(self, list, f)
  self.writable = false
  local options = { method = "POST", headers = { ["Content-Type"] = "text/plain;charset=UTF-8" } }
  options.body = packets.payload(list)
  request(self, "post", options, f)
end

--- send(list): sends packets; `writable` until then. on.drain is called when it takes more.
function Polling:send(list)
  post(self, list, function()
    self.writable = true
    local is_pausing = self.state == "pausing"
    self.on.drain()
    if is_pausing then rest(self) end
  end)
end

--- pause(f): calls f() once no request is under way, and makes none any more.
function Polling:pause(f)
  self.state, self.on_paused = "pausing", f
  self.reactor.after(0, function() rest(self) end)
end

--- resume(): goes on after a pause, or while it is waited for.
function Polling:resume()
  if self.state ~= "pausing" and self.state ~= "paused" then return end
  self.state = "open"
  if not self.poll and not self.is_taking then poll(self) end
end

--- discard(): ends all of it at once, without a word to the server.
function Polling:discard()
  self.state, self.writable, self.on = "closed", false, NOBODY
  for _, kind in ipairs { "poll", "post" } do
    if self[kind] then self[kind]:cancel() end
    self[kind] = nil
  end
  if self.patience then self.patience:cancel() end
end

--- close(): tells the server that this is the end, if it knows of the session. The server answers the GET then.
function Polling:close()
  local is_known = self.place.sid and (self.state == "open" or self.state == "pausing")
  if not is_known or self.post then return self:discard() end
  self.state, self.on = "closed", NOBODY
  self.patience = self.reactor.after(self.place.own.close_timeout, function() self:discard() end)
  post(self, { { kind = "close" } }, function() self:discard() end)
end

return polling
