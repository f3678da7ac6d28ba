---@meta luws.engineio

--[[
Annotations of Engine.IO (docs/engineio.md), for lua-language-server and EmmyLua. Nothing here runs. spec/types_spec.lua
compares the names and the defaults with the module.
--]]

---Engine.IO, the layer below Socket.IO.
---@class luws.engineio
---@field protocol integer the revision of the protocol: 4
local engineio = {}

---Opens a session. Raises an error for a wrong URL or a wrong option.
---@param url string http, https, ws or wss
---@param options luws.EngineClientOptions?
---@return luws.EngineSocket
function engineio.connect(url, options) end

---Listens for sessions. Takes the options of `luws.server`'s `listen`, too.
---@param options luws.EngineOptions
---@return luws.Engine?
---@return string? message
function engineio.listen(options) end

---Has a server take sessions below a path.
---@param server luws.Server
---@param options luws.EngineOptions?
---@return luws.Engine?
---@return string? message
function engineio.attach(server, options) end

---Makes a binary value of a string.
---@param bytes string
---@return luws.Binary
function engineio.binary(bytes) end

---Whether a value is a binary one.
---@param value any
---@return boolean
function engineio.is_binary(value) end

---Bytes that are sent as binary data: `tostring(b)`, `#b`, `b == c`, `b:sub(i, j)`.
---@class luws.Binary: userdata

---Options of a client: these, and of `wsopen` auth, connect, connect_timeout, cookies, proxy, proxy_auth, proxy_ssl,
---reactor, sockproxy and those of TLS. Times are in milliseconds, except for `close_timeout`.
---@class luws.EngineClientOptions
---@field path? string Default: "/engine.io"
---@field addTrailingSlash? boolean Default: true
---@field transports? string[] "polling", "websocket"
---@field tryAllTransports? boolean Default: false
---@field upgrade? boolean Default: true
---@field rememberUpgrade? boolean Default: false
---@field query? table<string, any>|string
---@field extraHeaders? table<string, string|number>
---@field withCredentials? boolean Default: false
---@field forceBase64? boolean Default: false
---@field timestampRequests? boolean
---@field timestampParam? string Default: "t"
---@field requestTimeout? number Default: 0
---@field protocols? string|string[]
---@field perMessageDeflate? boolean|table
---@field max_payload_size? integer bytes
---@field close_timeout? number seconds

---Options of a server. Times are in milliseconds.
---@class luws.EngineOptions: luws.ServerOptions
---@field path? string Default: "/engine.io"
---@field addTrailingSlash? boolean Default: true
---@field transports? string[] "polling", "websocket"
---@field allowUpgrades? boolean Default: true
---@field pingInterval? number Default: 25000
---@field pingTimeout? number Default: 20000
---@field upgradeTimeout? number Default: 10000
---@field maxHttpBufferSize? integer bytes
---@field httpCompression? boolean|table
---@field perMessageDeflate? boolean|table Default: false
---@field allowRequest? fun(request: luws.Request, done: fun(err: string?, is_allowed: boolean?))
---@field allowEIO3? boolean Default: false
---@field cors? table
---@field cookie? boolean|string|table Default: false
---@field initialPacket? string|luws.Binary
---@field max_clients? integer
---@field max_buffered? integer bytes

---What has listeners.
---@class luws.Emitter
local emitter = {}

---Has a function called for each event of this name. Returns the object.
---@param name string
---@param f function
function emitter:on(name, f) end

---Has a function called for the next event of this name. Returns the object.
---@param name string
---@param f function
function emitter:once(name, f) end

---Removes one function, all of an event, or all. Returns the object.
---@param name string?
---@param f function?
function emitter:off(name, f) end

---The same as on.
---@param name string
---@param f function
function emitter:addListener(name, f) end

---The same as off.
---@param name string?
---@param f function?
function emitter:removeListener(name, f) end

---The same as off.
---@param name string?
---@param f function?
function emitter:removeAllListeners(name, f) end

---The functions that listen to an event.
---@param name string
---@return function[]
function emitter:listeners(name) end

---Whether any function listens to an event.
---@param name string
---@return boolean
function emitter:hasListeners(name) end

---A server of sessions.
---@class luws.Engine: luws.Emitter
---@field port integer? that it listens at
---@field clientsCount integer
---@field clients table<string, luws.EngineServerSocket>
local engine = {}

---The name of a new session; may be replaced.
---@param request luws.Request
---@return string
function engine.generateId(request) end

---Has a function called for each request before it is looked at. Returns the engine.
---@param f fun(request: luws.Request, response: { headers: table<string, string> }, done: fun(err: any?))
function engine:use(f) end

---Sends a message to these sessions. Its frame is made once. Returns the engine.
---@param list luws.EngineServerSocket[]
---@param data string|luws.Binary
---@param options? { compress: boolean? } false: it is not compressed. Default: true
function engine:multicast(list, data, options) end

---Ends all sessions, and stops listening if it was made by `listen`.
function engine:close() end

---A client's session.
---@class luws.EngineSocket: luws.Emitter
---@field id string?
---@field readyState string "opening", "open", "closing" or "closed"
---@field transport { name: string, writable: boolean }
local socket = {}

---Sends a message: a string in UTF-8, or a binary value. Returns the socket; so does `write`, which is the same.
---@param data string|luws.Binary
---@param options? { compress: boolean? } false: it is not compressed. Default: true
function socket:send(data, options) end

---@param data string|luws.Binary
---@param options? { compress: boolean? }
function socket:write(data, options) end

---Ends the session once everything has left. Returns the socket.
function socket:close() end

---Whether the server should have pinged before now.
---@return boolean
function socket:hasPingExpired() end

---How many packets wait for the transport.
---@return integer
function socket:bufferedPackets() end

---A session at the server.
---@class luws.EngineServerSocket: luws.Emitter
---@field id string
---@field readyState string "opening", "open", "closing" or "closed"
---@field transport { name: string, writable: boolean }
---@field request luws.Request
---@field remoteAddress string?
---@field protocol integer 4 or 3
local served = {}

---Sends a message: a string in UTF-8, or a binary value. Returns the socket; so does `write`, which is the same.
---@param data string|luws.Binary
---@param options? { compress: boolean? } false: it is not compressed. Default: true
function served:send(data, options) end

---@param data string|luws.Binary
---@param options? { compress: boolean? }
function served:write(data, options) end

---Ends the session once everything has left, or at once. Returns the socket.
---@param is_discarded boolean?
function served:close(is_discarded) end
