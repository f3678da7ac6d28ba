---@meta luws.server

--[[
Annotations of luws.server (docs/server.md), for lua-language-server and EmmyLua. Nothing here runs. Times are in
seconds and may be fractions, sizes are in bytes. spec/types_spec.lua compares the names with the module.
--]]

---A connection that a server has accepted.
---@class luws.ServedConnection: luws.Connection
---@field server luws.Server
---@field request luws.Request the request that has opened it
---@field remote? string the client's address; nil for a unix domain socket
---@field id integer no other connection of the server has it

---A connection whose messages a coroutine asks for.
---@class luws.SpawnedConnection: luws.ServedConnection
---@field message fun(self: luws.SpawnedConnection): integer?, string? the opcode and the data of the next message
---@field messages fun(self: luws.SpawnedConnection): fun(): integer?, string? not in PUC Lua 5.1

---A response to a request.
---@class luws.ServerResponse
---@field status? integer default: 200
---@field headers? table<string, string|number|(string|number)[]> an array has the values of a header that is repeated
---@field body? string|number
---@field is_last? boolean the connection ends after it

---Options of Request:accept.
---@class luws.AcceptOptions
---@field subprotocol? string one of those that are offered
---@field headers? table<string, string|number|(string|number)[]> of the response
---@field on_fail? fun() called if it does not become an open connection after all

---A request that the server itself has refused.
---@class luws.Refusal
---@field remote? string the client's address
---@field remote_port? integer
---@field target? string nil: the request could not be read
---@field status? integer of the response; nil: there is none, because TLS has failed
---@field why string

---A request, as on_request is given it.
---@class luws.Request
---@field method string
---@field target string as it was sent
---@field path string nothing in it is decoded
---@field query? string what comes after the `?`; nil if there is none
---@field http string "1.1"
---@field headers table<string, string> by their names in lower case
---@field cookies table<string, string>
---@field origin? string
---@field subprotocols string[] those that are offered
---@field body? string
---@field remote? string the client's address; nil for a unix domain socket
---@field remote_port? integer
---@field socket luws.Socket the client's, as conn.socket
---@field tls? luws.TlsInfo
local request = {}

---Goes on with a request that was left for later.
---@param options? luws.AcceptOptions
---@return true? ok
---@return string? message "the request is over", or which option is wrong; then it still waits
function request:accept(options) end

---Within on_request: why this cannot become a WebSocket.
---@return integer? status nil: it can
---@return string? why
function request:problem() end

---Answers a request that was left for later.
---@param response luws.ServerResponse
---@return true? ok
---@return string? message "the request is over"
function request:refuse(response) end

---What handles requests and connections.
---@class luws.Handlers
---@field on_request? fun(request: luws.Request): luws.ServerResponse|any returns nil to go on, or server.later
---@field on_head? fun(request: luws.Request): luws.ServerResponse? before its body is read; nil to go on
---@field on_abort? fun(request: luws.Request) it will not be answered by the program
---@field on_open? fun(conn: luws.ServedConnection, request: luws.Request)
---@field on_message? fun(conn: luws.ServedConnection, opcode: integer, data: string)
---@field on_drain? fun(conn: luws.ServedConnection)
---@field on_close? fun(conn: luws.ServedConnection, code: integer, reason: string)
---@field methods? string|string[] default: GET and HEAD
---@field max_body? integer default: 0, which takes no body
---@field answer_timeout? number for a request that is answered later, in seconds; default: 60
---@field origins? string|string[] default: any
---@field subprotocols? string|string[]
---@field select_subprotocol? fun(request: luws.Request, offered: string[]): string?
---@field response_headers? table<string, string|number|(string|number)[]>|fun(request: luws.Request): table

---Where to listen.
---@class luws.Place
---@field host? string default: "127.0.0.1"
---@field port? integer 0: any that is free
---@field unix? string the path of a unix domain socket
---@field mode? string the permissions of its file, such as "600"; default: what the umask leaves
---@field fd? integer|"systemd" a descriptor that listens already
---@field backlog? integer default: 1024
---@field reuseport? boolean default: false
---@field tls? boolean whether it is wss there; default: if there is a certificate

---Options of listen, which has those of Place and of Handlers as well.
---@class luws.ServerOptions: luws.Place, luws.Handlers
---@field listeners? luws.Place[]
---@field max_connections? integer default: 10000
---@field on_refuse? fun(refusal: luws.Refusal)
---@field trusted_proxies? string|string[] addresses, networks such as "10.0.0.0/8", or "unix"
---@field max_payload_size? integer default: 1048576
---@field max_buffered? integer default: 1048576
---@field send_timeout? number default: 0
---@field close_timeout? number default: 5
---@field upgrade_timeout? number default: 5
---@field ping_interval? number default: 20
---@field ping_timeout? number default: 20
---@field receive_chunk_size? integer
---@field receive_timeout? number
---@field fragment_size? integer
---@field deflate? boolean|luws.DeflateOptions
---@field control_handler? fun(conn: luws.ServedConnection, opcode: integer, data: string): boolean?
---@field sink? fun(conn: luws.ServedConnection, opcode: integer): function?
---@field handler_args? any[]
---@field validate_utf8? boolean
---@field allow_long_lengths? boolean
---@field coalesce? boolean|integer
---@field reactor? luws.reactor
---@field slow? "close"|"drop"|fun(conn: luws.ServedConnection) default: "close"

---Options of Server:close.
---@class luws.CloseOptions
---@field code? integer default: 1001
---@field reason? string
---@field timeout? number default: 5

---Options of Server:run.
---@class luws.RunOptions
---@field signals? boolean whether INT and TERM close the server, and HUP reads its certificates; default: false
---@field done? fun(): boolean? called after each step; true ends the run

---@class luws.Server
local server = {}

---One step of the reactor.
---@param seconds? number
---@return integer? turns
---@return string? message "closed"
function server:step(seconds) end

---Steps until nothing is left of the server.
---@param options? luws.RunOptions
---@return true? ok
---@return string? message
function server:run(options) end

---The next event of a server without handlers, and what it has with it.
---@param seconds? number
---@return "request"|"open"|"message"|"drain"|"close"|nil event
---@return any ...
function server:next(seconds) end

---Reads the certificates again.
---@return true? ok
---@return string? message
function server:reload() end

---Puts a connection into a room.
---@param conn luws.ServedConnection
---@param room any
---@return boolean changed
function server:join(conn, room) end

---Takes a connection out of a room.
---@param conn luws.ServedConnection
---@param room any
---@return boolean changed
function server:leave(conn, room) end

---The connections in a room; all connections, if it is nil.
---@param room any
---@return luws.ServedConnection[]
function server:members(room) end

---Sends a message to the connections in a room; to all, if it is nil.
---@param room any
---@param opcode 1|2
---@param data string
---@param except? luws.ServedConnection
---@return integer? count how many took it
---@return string? message
function server:broadcast(room, opcode, data, except) end

---Sends a message to these connections. Never waits.
---@param conns luws.ServedConnection[]
---@param opcode 1|2
---@param data string
---@param compress? boolean false: it is not compressed. Default: true
---@return integer? count how many took it
---@return luws.ServedConnection[]|string rest those that did not; or what is wrong
function server:multicast(conns, opcode, data, compress) end

---Shuts the server down.
---@param options? luws.CloseOptions
---@return true? ok
---@return string? message
function server:close(options) end

---Whether nothing is left of the server.
---@return boolean
function server:is_closed() end

---Host and port of the first listener, or its path.
---@return string? host
---@return integer? port
function server:address() end

---@return { host: string?, port: integer?, path: string? }[]
function server:addresses() end

---Iterates over the connections that are open.
---@return fun(): luws.ServedConnection?
function server:connections() end

---How many connections are open.
---@return integer
function server:count() end

---Has requests below a path handled by others.
---@param prefix string
---@param handlers luws.Handlers
---@return luws.Server? server
---@return string? message
function server:route(prefix, handlers) end

---What a server has done, in numbers.
---@class luws.ServerStats
---@field accepted integer connections
---@field refused integer requests
---@field open integer connections that are open
---@field messages_received integer
---@field bytes_received integer bytes of their data
---@field messages_sent integer
---@field bytes_sent integer bytes of their data

---@return luws.ServerStats
function server:stats() end

---For outer loops: the reactor's descriptor.
---@return integer
function server:pollfd() end

---@return integer
function server:getfd() end

---@return "r"
function server:events() end

---@return number?
function server:timeout() end

---@return boolean
function server:dirty() end

---WebSocket servers.
---@class luws.servers
---@field later any what on_request returns if the request is answered later
local servers = {}

---The response that is a file below a folder, by the path of a request; 404 if there is none. It can be sent again.
---@param folder string
---@param path string
---@return luws.ServerResponse
function servers.file(folder, path) end

---A handler for on_open that runs a function as a coroutine.
---@param f fun(conn: luws.SpawnedConnection, request: luws.Request)
---@return fun(conn: luws.ServedConnection, request: luws.Request)
function servers.spawn(f) end

---Listens.
---@param options luws.ServerOptions
---@return luws.Server? server
---@return string? message
function servers.listen(options) end

return servers
