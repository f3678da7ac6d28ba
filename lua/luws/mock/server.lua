--[[
A scripted server in a world in memory: it answers upgrade requests as a test says, and its ends of the connections
(mock/peer.lua) are the test's to hold. What the network before it does to bytes is in mock/link.lua.
--]]

local native, import = ...
local arguments, guard, link, peers = import("arguments"), import("guard"), import("mock/link"), import("mock/peer")

local servers = {}

local Server = {}
Server.__index = Server

local SECONDS = { "a number of at least 0", function(value) return link.is_amount(value, 0) end }

-- What `respond` may be, and what a function there may return.
local ANSWERS = { string = true, table = true, boolean = true, ["nil"] = true }

--- Options of listen.
servers.OPTIONS = {
  subprotocols = "table",
  respond = {
    "table, string or function",
    function(value) return value ~= false and ANSWERS[type(value)] or guard.is_callable(value) end,
  },
  deflate = {
    "boolean or table", function(value) return type(value) == "boolean" or type(value) == "table" end,
  },
  max_payload_size = "whole", tls = "table", faults = "table", delay = SECONDS, close_delay = SECONDS,
  echo = "boolean", answers = "boolean", record = "any", compare = "string",
}

-- At which stage a server drops the connection (fault drop_at).
local STAGES = { tcp = true, tls = true, upgrade = true, open = true, closing = true }

local EVENTS = { open = true, message = true, close = true, ping = true, pong = true }

--- on(event, f): has the server call f(peer, ...) from now on: for "open" with the request, for "message" with data and
-- kind, for "close" with code, reason and whether it was clean, for "ping" and "pong" with data. Returns the server.
function Server:on(event, f)
  if not EVENTS[event] then error(("bad argument #1 to 'on' (unknown: '%s')"):format(tostring(event)), 2) end
  arguments.callable("on", 2, f)
  self.listeners[event] = f
  return self
end

--- accept(): returns the next connection that has been opened to this server, or nil if there is none.
function Server:accept()
  if not self.opened[1] and not self.net.is_running then self.net:run() end
  return table.remove(self.opened, 1)
end

--- close(): nobody listens any more. Connections that are open stay.
function Server:close() self.net.places:leave(self) end

local REASONS = {
  [200] = "OK", [301] = "Moved Permanently", [302] = "Found", [307] = "Temporary Redirect",
  [308] = "Permanent Redirect", [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden",
  [404] = "Not Found", [407] = "Proxy Authentication Required", [429] = "Too Many Requests",
  [500] = "Internal Server Error", [502] = "Bad Gateway", [503] = "Service Unavailable",
}

--- Returns a response as bytes.
local function response_of(told)
  local status, body = told.status or 200, told.body or ""
  local lines = { ("HTTP/1.1 %d %s"):format(status, told.reason or REASONS[status] or "Status") }
  local names, has_length = {}, false
  for name in pairs(told.headers or {}) do
    names[#names + 1] = name
    has_length = has_length or name:lower() == "content-length"
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local values = told.headers[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      lines[#lines + 1] = name .. ": " .. value
    end
  end
  if not has_length then lines[#lines + 1] = "Content-Length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
end

--- Chooses the first of the client's subprotocols that the server has.
local function protocol_for(server, request)
  for _, name in ipairs(request.subprotocols) do
    for _, own in ipairs(server.subprotocols or {}) do
      if name == own then return name end
    end
  end
end

--- Returns what a request is to be answered.
local function told_by(server, request)
  local told = server.respond
  if guard.is_callable(told) then told = told(request) end
  if told == nil and server.script then told = server.script:answer() end
  if not ANSWERS[type(told)] then error("its 'respond' is a " .. type(told), 0) end
  return told
end

--- Sends an answer.
local function send(server, peer, told)
  if told == nil or told == true then return peer:accept(protocol_for(server, peer.request)) end
  if type(told) == "string" and told:find("{accept}", 1, true) then return peer:accept(nil, told) end
  if type(told) == "table" and told.protocol and not told.status then return peer:accept(told.protocol) end
  if peer.is_tls and type(told) == "table" then
    native.refuse(peer.session, told.status or 200, told.body or "")
    peer.wire:write()
  else
    peer:raw(type(told) == "string" and told or response_of(told or { status = 403 }))
  end
  peer.line:finish()
end

--- answer(peer): answers a request: accepts it, or does what `respond` says. What is wrong with that fails the test.
function Server:answer(peer)
  local ok, err = pcall(function() send(self, peer, told_by(self, peer.request)) end)
  if ok then return end
  self.net:failed(("%s, at a request: %s"):format(peer.who, guard.text(err) or type(err)))
  peer:drop()
end

--- Returns what is wrong with faults, or nil.
local function wrong_faults(faults)
  if type(faults) ~= "table" then return "bad option 'faults' (table expected, got " .. type(faults) .. ")" end
  local wrong = link.check(faults, { drop_at = true })
  if wrong then return wrong end
  if faults.drop_at ~= nil and not STAGES[faults.drop_at] then
    return ("bad fault 'drop_at' (unknown: '%s')"):format(tostring(faults.drop_at))
  end
end

servers.wrong_faults = wrong_faults

--- drops_at(stage): returns whether the server drops connections there.
function Server:drops_at(stage) return self.faults ~= nil and self.faults.drop_at == stage end

--- delay_of_dial(): returns after how many seconds a dial has its answer.
function Server:delay_of_dial()
  local faults = self.faults
  local wrong = faults and wrong_faults(faults) -- they may have been changed
  if wrong then error(("%s: %s"):format(self.url, wrong), 0) end
  return self.net:draw(faults and faults.delay or 0)
end

--- meet(): makes a peer for a client that has dialled. Returns the client's end of the wire; or nil and why not.
function Server:meet()
  local net = self.net
  local peer, near = peers.new(net, self)
  if not peer then return nil, near end
  self.attempts = self.attempts + 1
  net:track(peer)
  if self:drops_at "tcp" or self:drops_at "tls" then
    net.clock.after(0, function() peer:reset() end, peer.who)
  end
  return near
end

--- in_use(net, target, path): returns who listens there already: a server of luws.server, or one of these at the same
-- path. Nobody would ever come to another one.
local function in_use(net, target, path)
  if not net.places:is_taken(target.host, target.port) then return nil end
  for _, other in ipairs(net.places:at(target.host, target.port)) do
    if getmetatable(other) ~= Server then return other.who end
    if other.path == path then return other.url end
  end
end

--- new(net, url, options): makes a server at a URL. Wrong ones are an error at the caller of who calls this.
function servers.new(net, url, options)
  local target, why = native.parse_url(url)
  if not target then error(("bad argument #1 to 'listen' (%s)"):format(why), 3) end
  local tls, wrong = options.tls, options.faults and wrong_faults(options.faults)
  if wrong then error("listen: " .. wrong, 3) end
  local path = target.resource:match "^[^?]*"
  local taken = in_use(net, target, path)
  if taken then error(("bad argument #1 to 'listen' (%s is in use)"):format(taken), 3) end
  local self = setmetatable({
    net = net, url = url, path = path, host = target.host, port = target.port,
    listeners = {}, opened = {}, attempts = 0, faults = options.faults or net.faults,
    subprotocols = options.subprotocols, respond = options.respond, deflate = options.deflate,
    max_payload_size = options.max_payload_size, delay = options.delay, close_delay = options.close_delay,
    answers = options.answers, is_secure = tls ~= nil,
    certificate = tls and (tls.certificate or tls[1]), key = tls and (tls.key or tls[2]),
  }, Server)
  if type(self.deflate) ~= "table" then self.deflate = self.deflate and { threshold = 0, level = 6 } or nil end
  if options.record ~= nil then
    self.script = import("mock/recorded")(options.record, url, options.compare == "strict")
  end
  if options.echo then self:on("message", function(peer, data, kind) peer:send(data, kind) end) end
  net.places:enter(self, target.host, target.port)
  return self
end

return servers
