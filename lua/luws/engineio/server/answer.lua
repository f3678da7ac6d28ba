--[[
One request to an engine, and its answer, whenever that comes: within on_request of luws.server, or later. Middlewares
get it as their second argument. Knows HTTP, and nothing of sessions.
--]]

local _, import = ...
local emitter, luws_server, queries = import("emitter"), import("server").public, import("query")

local answers = {}

local Answer = {}
Answer.__index = Answer

--- new(engine, request): makes the answer to a request, which gets its query as a table.
function answers.new(engine, request)
  request.query_table = queries.parse(request.query)
  local upgrade = request.headers.upgrade
  return setmetatable({
    engine = engine, request = request,
    is_upgrade = request.method == "GET" and upgrade ~= nil and upgrade:lower() == "websocket",
    headers = {}, -- of every answer to this request
    session = nil, -- the socket that the WebSocket is for (server)
    is_within = true, -- on_request has not returned
    is_done = false, outcome = nil, -- what it is to return
  }, Answer)
end

--- tell(): has listeners change the headers: initial_headers of the first answer of a session, headers of all.
function Answer:tell()
  local engine, request, headers = self.engine, self.request, self.headers
  if not request.query_table.sid then emitter.emit(engine, "initial_headers", headers, request) end
  emitter.emit(engine, "headers", headers, request)
end

--- finish(status [, body]): answers, with the headers that are there now.
function Answer:finish(status, body)
  if self.is_done then return end
  self.is_done = true
  local response = { status = status, headers = self.headers, body = body }
  if self.is_within then self.outcome = response else self.request:refuse(response) end
end

--- accept(): the request becomes a WebSocket.
function Answer:accept()
  if self.is_done then return end
  self.is_done = true
  self:tell()
  if not self.is_within then self.request:accept { headers = self.headers } end
end

--- returned(): returns what on_request returns for this request.
function Answer:returned()
  self.is_within = false
  if self.is_done then return self.outcome end
  return luws_server.later
end

return answers
