--[[
A server's transport by HTTP requests: a GET is held until there are packets for it, a POST brings packets. With JSONP,
which old browsers need, answers are calls of a function, and a POST is a form.

Transports have the same methods (send, close, discard, leave) and call the functions in `on`: packet(kind, data),
ready() when they take packets again, error(err), close(details).
--]]

local native, import = ...
local failure, json, packets = import("engineio/failure"), import("json").public, import("engineio/packets")
local payload, queries, reactor = import("engineio/payload"), import("query"), import("reactor").public

local polling = {}

local Polling = { name = "polling" }
Polling.__index = Polling

-- How long the end of a session waits for the GET that takes it along, in seconds.
local CLOSE_TIMEOUT = 30

-- What a WebSocket has no need of: the body of a revision 3 that is binary.
local BYTES = "application/octet-stream"

local function ignored() end

--- What a transport has as `on` while nobody listens to it.
polling.NOBODY = { packet = ignored, ready = ignored, error = ignored, close = ignored }

--- new(codec, request, own): makes the transport of a session that a request has begun. `codec` has the revision of the
-- protocol; `own` are the engine's options.
function polling.new(codec, request, own)
  local query = request.query_table
  return setmetatable({
    codec = codec, own = own, on = polling.NOBODY, takes_binary = query.b64 == nil and query.j == nil,
    jsonp = query.j and query.j:gsub("[^0-9]", "") or nil,
    writable = false, -- a GET waits
    held = nil, -- its answer
    posting = nil, -- the answer to the last POST
    is_taking = false, -- the packets of that are being told
    on_closed = nil, timer = nil, -- the end of the session waits for a GET
    is_closed = false, is_discarded = false,
  }, Polling)
end

--- fail(self, text): the client has broken a rule.
local function fail(self, text) self.on.error(failure.new(text)) end

--- get(self, answer): a request asks for packets.
local function get(self, answer)
  if self.held then
    fail(self, "overlap from client")
    return answer:finish(400)
  end
  self.held, self.writable = answer, true
  self.on.ready()
  if self.writable and self.on_closed then self:send { { kind = "noop" } } end
end

--- form(body): returns what the form of a JSONP client has as its data, or nil. It has a newline as \n, and \n as \\n.
local function form(body)
  local data = queries.parse(body).d
  return data and (data:gsub("(\\?)\\n", function(slash) return slash ~= "" and "\\n" or "\n" end))
end

--- post(self, answer): a request has packets.
local function post(self, answer)
  local request = answer.request
  local media_type, body = request.headers["content-type"], request.body or ""
  if media_type == BYTES and self.codec == packets then
    fail(self, "invalid content")
    return answer:finish(400)
  end
  if self.jsonp then body = form(body) or "" end
  self.is_taking = true
  payload.each(reactor, self.codec.each(body, media_type), function(kind, data)
    if self.is_closed then return false end
    if kind == "close" then
      self.on.close()
    else
      self.on.packet(kind, data)
    end
  end, function()
    self.is_taking = false
    answer.headers["Content-Type"] = "text/html"
    self:finish(answer, "ok")
  end)
end

--- expect(answer): a request is coming that has packets. Returns false if it may not come now.
function Polling:expect(answer)
  if self.posting and not self.posting.is_done then
    fail(self, "overlap from client")
    return false
  end
  self.posting = answer
  return true
end

--- take(answer): a request of the session has come.
function Polling:take(answer)
  local method = answer.request.method
  if method == "GET" then return get(self, answer) end
  if method == "POST" then return post(self, answer) end
  answer:finish(500)
end

--- aborted(request): nobody waits for the answer to a request any more, or its body was refused.
function Polling:aborted(request)
  if self.held and self.held.request == request then
    self.held, self.writable = nil, false
    return fail(self, "poll connection closed prematurely")
  end
  if request.method ~= "POST" or self.is_taking then return end
  fail(self, "the data of a request have not come, or are too large")
end

--- finish(answer, body [, may_compress]): answers a request of the session.
function Polling:finish(answer, body, may_compress)
  if answer.is_done then return end
  local headers, request = answer.headers, answer.request
  local agent, accepted = request.headers["user-agent"] or "", request.headers["accept-encoding"] or ""
  if agent:find(";MSIE", 1, true) or agent:find("Trident/", 1, true) then headers["X-XSS-Protection"] = "0" end
  headers["Cache-Control"] = "no-store"
  local compression = self.own.httpCompression
  if may_compress and compression and #body >= compression.threshold and accepted:find "%f[%w]gzip%f[%W]" then
    local compressed = native.gzip(body)
    if compressed then headers["Content-Encoding"], body = "gzip", compressed end
  end
  answer:tell()
  answer:finish(200, body)
end

-- JSON lets strings have these line ends, JavaScript did not.
local LINE_ENDS = { ["\226\128\168"] = "\\u2028", ["\226\128\169"] = "\\u2029" }

--- script(text): returns a text as a string of JavaScript.
local function script(text) return (json.encode(text):gsub("\226\128[\168\169]", LINE_ENDS)) end

--- wants_compression(list): returns whether any of these packets may be compressed.
local function wants_compression(list)
  for _, packet in ipairs(list) do
    if packet.compress ~= false then return true end
  end
  return false
end

--- send(list, has_more): sends packets by the GET that waits; `has_more`: whether others wait for the next one. Returns
-- how many it has taken.
function Polling:send(list, has_more)
  local answer, on_closed = self.held, self.on_closed
  self.held, self.writable, self.on_closed = nil, false, nil
  local count = #list
  if on_closed and not has_more then list[count + 1] = { kind = "close" } end
  local body, media_type = self.codec.payload(list, self.takes_binary)
  if self.jsonp then body = ("___eio[%s](%s);"):format(self.jsonp, script(body)) end
  answer.headers["Content-Type"] = media_type
  self:finish(answer, body, wants_compression(list))
  if on_closed then
    if has_more then self.on_closed = on_closed else on_closed() end
  end
  return count
end

--- close(f): ends the transport, and calls f(): at once, if a GET waits; otherwise with the next one.
function Polling:close(f)
  if self.is_closed then return end
  local function finish()
    if self.timer then self.timer:cancel() end
    self.timer, self.on_closed = nil, nil
    self.is_closed, self.on = true, polling.NOBODY
    if f then f() end
  end
  if self.writable then
    self:send { { kind = "close" } }
    finish()
  elseif self.is_discarded or not f then
    finish()
  else
    self.on_closed, self.timer = finish, reactor.after(CLOSE_TIMEOUT, finish)
  end
end

--- discard(): the end does not wait for a GET.
function Polling:discard() self.is_discarded = true end

--- leave(kind): the session uses another transport from now on, or is over. A GET that waits gets a packet of this
-- kind.
function Polling:leave(kind)
  self.on, self.on_closed = polling.NOBODY, nil
  if self.timer then self.timer:cancel() end
  if self.writable then self:send { { kind = kind } } end
  self.is_closed = true
end

return polling
