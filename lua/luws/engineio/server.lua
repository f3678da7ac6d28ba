--[[
A server of Engine.IO on a route of luws.server: its sessions, and what becomes of each request. Revision 4 of the
protocol, and 3 where that is allowed.
--]]

local native, import = ...
local answers, checks, cookies, cors = import("engineio/server/answer"), import("engineio/server/checks"),
  import("engineio/server/cookie"), import("engineio/server/cors")
local emitter, guard, json, log = import("emitter"), import("guard"), import("json").public, import("log")
local luws_server, polling, websocket = import("server").public, import("engineio/server/polling"),
  import("engineio/server/websocket")
local multicast = import("engineio/server/multicast")
local packets, packets3 = import("engineio/packets"), import("engineio/packets3")
local options, reactor = import("options"), import("reactor").public
local settings, sockets = import("engineio/settings"), import("engineio/server/socket")

local servers = {}

local emit = emitter.emit

local Engine = {}
Engine.__index = Engine
emitter.extend(Engine)

-- The key under which a request has its answer.
local ANSWER = {}

local TEXT = 1

-- How much of chance is in the name of a session.
local ID_BYTES = 15

local METHODS = { "GET", "POST", "OPTIONS", "HEAD", "PUT", "PATCH", "DELETE" }

--- generateId(request): returns the name of a new session, which nobody can guess. A program may replace it.
function Engine.generateId()
  local bytes = assert(native.token()):sub(1, 2 * ID_BYTES):gsub("%x%x", function(digits)
    return string.char(tonumber(digits, 16))
  end)
  return (native.base64(bytes):gsub("[+/]", { ["+"] = "-", ["/"] = "_" }))
end

--- use(f): has f(request, response, done) called for each request, before anything is checked. response.headers are
-- those of the answer; done(err) goes on, or refuses the request.
function Engine:use(f)
  if not guard.is_callable(f) then
    error(("bad argument #1 to 'use' (function expected, got %s)"):format(type(f)), 2)
  end
  self.middlewares[#self.middlewares + 1] = f
  return self
end

--- refuse(self, answer, number, context): answers a request by an error.
local function refuse(self, answer, number, context)
  local message = checks.MESSAGES[number]
  emit(self, "connection_error", { req = answer.request, code = number, message = message, context = context })
  local given = number == checks.FORBIDDEN and context.message and guard.text(context.message)
  if given and not native.check_text(TEXT, given) then message = given end
  if answer.is_upgrade then
    answer.headers["Content-Type"] = "text/html"
    return answer:finish(400, message)
  end
  answer.headers["Content-Type"] = "application/json"
  answer:finish(number == checks.FORBIDDEN and 403 or 400, json.encode { code = number, message = message })
end

--- upgrades_of(self, name): returns the transports that a session which begins with this one may go over to.
local function upgrades_of(self, name)
  return self.own.allowUpgrades and name == "polling" and self.has_transport.websocket and { "websocket" } or {}
end

--- begin(self, id, answer, transport): makes a session, and tells of it.
local function begin(self, id, answer, transport)
  local socket = sockets.new(id, answer.request, checks.revision(answer.request), transport, self.own, function(socket)
    if self.clients[socket.id] ~= socket then return end
    self.clients[socket.id], self.clientsCount = nil, self.clientsCount - 1
  end)
  self.clients[id], self.clientsCount = socket, self.clientsCount + 1
  return socket
end

local function codec_of(request) return checks.revision(request) == 3 and packets3 or packets end

--- shake_hands(self, answer): begins a session.
local function shake_hands(self, answer)
  if self.is_closed then return answer:finish(404) end -- while the program was asked
  local request = answer.request
  local protocol = checks.revision(request)
  if protocol == 3 and not self.own.allowEIO3 then
    return refuse(self, answer, checks.UNSUPPORTED, { protocol = protocol })
  end
  if self.clientsCount >= self.own.max_clients then
    return refuse(self, answer, checks.BAD_REQUEST, { name = "TOO_MANY_CLIENTS" })
  end
  local ok, id = guard.free(self.generateId, request)
  if not ok or type(id) ~= "string" or not id:find "^[!-~]+$" or self.clients[id] then
    local err = ok and "the name of a session is a string in ASCII, without spaces, that no other has" or id
    return refuse(self, answer, checks.BAD_REQUEST, { name = "ID_GENERATION_ERROR", error = err })
  end
  if answer.is_upgrade then
    answer.id = id
    return answer:accept()
  end
  if self.cookie then answer.headers["Set-Cookie"] = cookies.line(self.cookie, id) end
  local transport = polling.new(codec_of(request), request, self.own)
  local socket = begin(self, id, answer, transport)
  sockets.open(socket, upgrades_of(self, "polling"))
  transport:take(answer)
  emit(self, "connection", socket)
end

--- go_on(self, answer): deals with a request that may be what it is.
local function go_on(self, answer)
  local session = self.clients[answer.request.query_table.sid]
  if not session then return shake_hands(self, answer) end
  if not answer.is_upgrade then return session.transport:take(answer) end
  answer.session = session
  answer:accept()
end

--- announce(self, answer): tells a session that packets are coming for it. Returns whether they may.
local function announce(self, answer)
  local request = answer.request
  local session = request.method == "POST" and self.clients[request.query_table.sid]
  local transport = session and not checks.of_session(session, answer) and session.transport
  return not (transport and transport.expect) or transport:expect(answer)
end

--- run(self, answer, i): has the middlewares from this one on deal with a request, and then the checks.
local function run(self, answer, i)
  local middleware, is_done = self.middlewares[i], false
  if not middleware then
    return checks.verify(self, answer, function(number, context)
      if answer.is_done then return end
      if number then return refuse(self, answer, number, context) end
      go_on(self, answer)
    end)
  end
  local function done(err)
    if is_done or answer.is_done then return end
    is_done = true
    if err then return refuse(self, answer, checks.BAD_REQUEST, { name = "MIDDLEWARE_FAILURE" }) end
    run(self, answer, i + 1)
  end
  local ok, err = guard.free(middleware, answer.request, answer, done)
  if ok then return end
  log.handler_failed("a middleware of an engine raised an error", err)
  done(err or "nil")
end

--- opened(self, conn, request): a request has become a WebSocket.
local function opened(self, conn, request)
  local answer = request[ANSWER]
  local transport = websocket.new(codec_of(request), request, conn, self.own)
  self.transports[conn] = transport
  local session = answer.session
  if not session then
    if self.clients[answer.id] or self.is_closed then return transport:leave() end -- meanwhile
    local socket = begin(self, answer.id, answer, transport)
    sockets.open(socket, upgrades_of(self, "websocket"))
    return emit(self, "connection", socket)
  end
  local may_upgrade = session.readyState ~= "closed" and not session.upgrading and not session.upgraded
    and session.transport.name == "polling"
  if may_upgrade then sockets.upgrade(session, transport) else transport:leave() end
end

--- handlers(self): returns what luws.server calls.
local function handlers(self)
  return {
    methods = METHODS, max_body = self.own.maxHttpBufferSize, answer_timeout = math.huge,
    on_head = function(request)
      local answer = answers.new(self, request)
      request[ANSWER] = answer
      if not self.is_closed and announce(self, answer) then return end
      answer:finish(self.is_closed and 404 or 400)
      return answer:returned()
    end,
    on_request = function(request)
      local answer = request[ANSWER]
      run(self, answer, 1)
      return answer:returned()
    end,
    on_abort = function(request)
      request[ANSWER].is_done = true -- whatever the program still says
      local session = self.clients[request.query_table.sid]
      local transport = session and session.transport
      if transport and transport.aborted then transport:aborted(request) end
    end,
    response_headers = function(request) return request[ANSWER].headers end,
    on_open = function(conn, request) opened(self, conn, request) end,
    on_message = function(conn, opcode, data) self.transports[conn]:received(opcode, data) end,
    on_drain = function(conn) self.transports[conn]:drained() end,
    on_close = function(conn, code, reason)
      local transport = self.transports[conn]
      self.transports[conn] = nil
      transport:over(code, reason)
    end,
  }
end

--- multicast(list, data [, options]): sends a message to these sessions. Its frame is made once for all whose
-- WebSockets take the same. Returns the engine.
function Engine:multicast(list, data, opts)
  multicast(self.host, list, data, opts)
  return self
end

--- close(): ends all sessions, and the server if it was made for them. On one that is shared, requests get 404 from now
-- on. The events of the sessions come in later turns.
function Engine:close()
  self.is_closed = true
  for _, socket in pairs(self.clients) do socket:close(true) end
  if self.srv then reactor.after(0, function() self.srv:close() end) end -- their ends come first
  return self
end

--- new(own): makes an engine with these options. Returns it, or nil and what is wrong.
local function new(own)
  local self = setmetatable({
    own = own, clients = {}, clientsCount = 0, middlewares = {}, has_transport = {},
    cookie = nil, -- what the option cookie says
    host = nil, -- the server whose connections these are
    srv = nil, port = nil, -- the same, if it is its own, and its port
    transports = {}, -- by their connections
    is_closed = false, -- it takes no more sessions
  }, Engine)
  for _, name in ipairs(own.transports) do self.has_transport[name] = true end
  local read, wrong
  if own.cookie then
    self.cookie, wrong = cookies.read(own.cookie)
    if wrong then return nil, wrong end
  end
  if own.cors then
    read, wrong = cors.read(own.cors)
    if wrong then return nil, wrong end
    self:use(cors.middleware(read))
  end
  return self
end

--- attach(srv, given): makes an engine on a server of luws.server, below its path. Returns it, or nil and what is
-- wrong.
function servers.attach(srv, given)
  if type(srv) ~= "table" or not guard.is_callable(srv.route) then
    return nil, "a server of luws.server expected, got " .. type(srv)
  end
  local ok, own, others = pcall(settings.server, given, function(name) return name == "reactor" end)
  if not ok then return nil, own end
  local _, bad = options.opening(others) -- it says in which world this is
  if bad then return nil, bad end
  if own.perMessageDeflate then
    return nil, "bad option 'perMessageDeflate' (it is the option deflate of the server)"
  end
  local self, wrong = new(own)
  if not self then return nil, wrong end
  local route
  route, wrong = srv:route(own.path, handlers(self))
  if not route then return nil, wrong end
  self.host = srv
  return self
end

--- listen(given): makes an engine on a server of its own: options that are not an engine's are luws.server's. Returns
-- it, or nil and what is wrong.
function servers.listen(given)
  local ok, own, others = pcall(settings.server, given, function() return true end)
  if not ok then return nil, own end
  local self, wrong = new(own)
  if not self then return nil, wrong end
  others.on_request = others.on_request or function() return { status = 404, body = "not found\n" } end
  others.max_payload_size = own.maxHttpBufferSize
  others.ping_interval = others.ping_interval or 0 -- an engine has its own
  if own.perMessageDeflate then others.deflate = { threshold = own.perMessageDeflate.threshold } end
  self.srv, wrong = luws_server.listen(others)
  if not self.srv then return nil, wrong end
  self.host = self.srv
  local _, port = self.srv:address()
  self.port = port
  assert(self.srv:route(own.path, handlers(self)))
  return self
end

return servers
