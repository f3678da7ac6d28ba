---@meta luws.socketio

--[[
Annotations of luws.socketio (docs/socketio.md), for lua-language-server and EmmyLua. Nothing here runs. Times of
options and methods with JavaScript's names are in milliseconds, sizes are in bytes. spec/types_spec.lua compares the
names with the module.
--]]

---What went wrong. `tostring` gives the message and the description.
---@class luws.SocketIoError
---@field message string
---@field description? string why, if there is no connection
---@field data any what the server has sent along

---Options of a client. What is not listed here is an option of luws.engineio.
---@class luws.SocketIoOptions
---@field autoConnect? boolean connect at once. Default: true
---@field reconnection? boolean connect again when the connection is lost. Default: true
---@field reconnectionAttempts? number attempts before it gives up; as many as it takes if not given. Default: none
---@field reconnectionDelay? number milliseconds before the first attempt; it doubles each time. Default: 1000
---@field reconnectionDelayMax? number milliseconds. Default: 5000
---@field randomizationFactor? number from 0 to 1: how far chance changes the delay. Default: 0.5
---@field timeout? number|false milliseconds of one attempt; false: no limit. Default: 20000
---@field forceNew? boolean do not share a connection with other sockets. Default: false
---@field multiplex? boolean share a connection with other sockets. Default: true
---@field auth? table|fun(give: fun(auth: table)): table? what the server is told about the client. Default: none
---@field ackTimeout? number milliseconds within which events are to be acknowledged. Default: none
---@field retries? integer how often an event is sent again until it is acknowledged. Default: none
---@field binaryType? string "binary", or "string": bytes come as strings. Default: "binary"

---The client's socket: one namespace of one server.
---@class luws.SocketIoSocket: luws.Emitter
---@field id? string while it is connected
---@field connected boolean
---@field disconnected boolean
---@field active boolean it connects by itself, or is connected
---@field recovered boolean the server has restored what was missed
---@field io luws.SocketIoManager
---@field nsp string
---@field auth? table|function
---@field sendBuffer table[] events that are sent once it is connected; data of each has its name and arguments
---@field receiveBuffer table[] events that came before the server has let us in
---@field volatile luws.SocketIoSocket what is sent through it is dropped if it cannot leave at once
local socket = {}

---Sends an event. If the last argument is a function, it is called with the server's answer.
---@param name string
---@param ... any
---@return self? socket
---@return string? message "the send buffer is full"
function socket:emit(name, ...) end

---Sends the event "message".
---@param ... any
---@return self? socket
---@return string? message
function socket:send(...) end

---The same as send.
---@param ... any
---@return self? socket
---@return string? message
function socket:write(...) end

---Sends an event, and waits for the answer.
---@param name string
---@param ... any
---@return true? ok
---@return any ... the answer; or the error
function socket:emitWithAck(name, ...) end

---What is sent through the result has to be acknowledged within that time.
---@param ms number
---@return luws.SocketIoSocket
function socket:timeout(ms) end

---@param on boolean
---@return luws.SocketIoSocket
function socket:compress(on) end

---@return self
function socket:connect() end

---@return self
function socket:open() end

---@return self
function socket:disconnect() end

---@return self
function socket:close() end

---Has a function called for every event that comes, with its name.
---@param f function
---@return self
function socket:onAny(f) end

---@param f function
---@return self
function socket:prependAny(f) end

---@param f? function
---@return self
function socket:offAny(f) end

---@return function[]
function socket:listenersAny() end

---Has a function called for every event that is sent, with its name.
---@param f function
---@return self
function socket:onAnyOutgoing(f) end

---@param f function
---@return self
function socket:prependAnyOutgoing(f) end

---@param f? function
---@return self
function socket:offAnyOutgoing(f) end

---@return function[]
function socket:listenersAnyOutgoing() end

---What several sockets share: a connection, which it opens again.
---@class luws.SocketIoManager: luws.Emitter
---@field engine? table the socket of luws.engineio
---@field opts table
local manager = {}

---Opens the connection.
---@param f? fun(err?: luws.SocketIoError)
---@return self
function manager:open(f) end

---@param f? fun(err?: luws.SocketIoError)
---@return self
function manager:connect(f) end

---Ends the connection and all its sockets.
function manager:close() end

function manager:disconnect() end

---Returns the socket of a namespace.
---@param namespace string
---@param opts? luws.SocketIoOptions
---@return luws.SocketIoSocket
function manager:socket(namespace, opts) end

---@param on? boolean
---@return any
function manager:reconnection(on) end

---@param count? number
---@return any
function manager:reconnectionAttempts(count) end

---@param ms? number
---@return any
function manager:reconnectionDelay(ms) end

---@param ms? number
---@return any
function manager:reconnectionDelayMax(ms) end

---@param factor? number
---@return any
function manager:randomizationFactor(factor) end

---@param ms? number|false
---@return any
function manager:timeout(ms) end

---Options of a server. What is not listed here is an option of luws.engineio, or of what listens.
---@class luws.SocketIoServerOptions
---@field connectTimeout? number milliseconds within which a client has to join a namespace. Default: 45000
---@field cleanupEmptyChildNamespaces? boolean Default: false
---@field connectionStateRecovery? luws.RecoveryOptions|boolean Default: false
---@field binaryType? string "binary", or "string": bytes come as strings. Default: "binary"

---@class luws.RecoveryOptions
---@field maxDisconnectionDuration? number milliseconds that a client may be away. Default: 120000
---@field skipMiddlewares? boolean Default: true

---To whom and how something is sent. Each method returns a new one.
---@class luws.SocketIoOperator
---@field volatile luws.SocketIoOperator
---@field localOnly luws.SocketIoOperator
local operator = {}

---@param room string|number|(string|number)[]
---@return luws.SocketIoOperator
function operator:to(room) end

---@param room string|number|(string|number)[]
---@return luws.SocketIoOperator
function operator:except(room) end

---@param ms number
---@return luws.SocketIoOperator
function operator:timeout(ms) end

---@param on boolean
---@return luws.SocketIoOperator
function operator:compress(on) end

---@param name string
---@param ... any
---@return true
function operator:emit(name, ...) end

---@param ... any
---@return true
function operator:send(...) end

---@param ... any
---@return true
function operator:write(...) end

---@param name string
---@param ... any
---@return true? ok
---@return any answers a list; or the error
function operator:emitWithAck(name, ...) end

---@return luws.SocketIoServerSocket[]
function operator:fetchSockets() end

---@param room string|number|(string|number)[]
function operator:socketsJoin(room) end

---@param room string|number|(string|number)[]
function operator:socketsLeave(room) end

---@param close? boolean the connections, too
function operator:disconnectSockets(close) end

---A namespace of a server.
---@class luws.SocketIoNamespace: luws.SocketIoOperator, luws.Emitter
---@field name string
---@field sockets table<string, luws.SocketIoServerSocket> by their ids
---@field adapter table
local namespace = {}

---@param f fun(socket: luws.SocketIoServerSocket, next: fun(err?: any))
---@return self
function namespace:use(f) end

---@param name string
---@param ... any
---@return true
function namespace:serverSideEmit(name, ...) end

---A server. It has the methods of its namespace "/", too.
---@class luws.SocketIoServer: luws.SocketIoNamespace
---@field engine table the server of luws.engineio
---@field port? integer
---@field sockets luws.SocketIoNamespace the namespace "/"
---@field namespaces table<string, luws.SocketIoNamespace> by their names
local server = {}

---Returns a namespace, or the parent of those that a pattern or a function allows.
---@param name string|{ pattern: string }|fun(name: string, auth: table, next: function): boolean?
---@param f? fun(socket: luws.SocketIoServerSocket)
---@return luws.SocketIoNamespace
function server:of(name, f) end

---Disconnects all clients, and stops listening.
---@param f? fun()
function server:close(f) end

---The server's socket: one client in one namespace.
---@class luws.SocketIoServerSocket: luws.Emitter
---@field id string
---@field nsp luws.SocketIoNamespace
---@field rooms table<string|number, true>
---@field data table for the program
---@field handshake table
---@field connected boolean
---@field disconnected boolean
---@field recovered boolean
---@field conn table the socket of luws.engineio
---@field client table
---@field request table
---@field volatile luws.SocketIoServerSocket
---@field broadcast luws.SocketIoOperator
---@field localOnly luws.SocketIoOperator
local served = {}

---@param name string
---@param ... any
---@return self
function served:emit(name, ...) end

---@param ... any
---@return self
function served:send(...) end

---@param ... any
---@return self
function served:write(...) end

---@param name string
---@param ... any
---@return true? ok
---@return any ... the answer; or the error
function served:emitWithAck(name, ...) end

---@param ms number
---@return luws.SocketIoServerSocket
function served:timeout(ms) end

---@param on boolean
---@return luws.SocketIoServerSocket
function served:compress(on) end

---@param room string|number|(string|number)[]
---@return luws.SocketIoOperator
function served:to(room) end

---@param room string|number|(string|number)[]
---@return luws.SocketIoOperator
function served:except(room) end

---@param room string|number|(string|number)[]
function served:join(room) end

---@param room string|number|(string|number)[]
function served:leave(room) end

---@param f fun(event: table, next: fun(err?: any))
---@return self
function served:use(f) end

---@param close? boolean the connection, too
---@return self
function served:disconnect(close) end

---@param f function
---@return self
function served:onAny(f) end

---@param f function
---@return self
function served:prependAny(f) end

---@param f? function
---@return self
function served:offAny(f) end

---@return function[]
function served:listenersAny() end

---@param f function
---@return self
function served:onAnyOutgoing(f) end

---@param f function
---@return self
function served:prependAnyOutgoing(f) end

---@param f? function
---@return self
function served:offAnyOutgoing(f) end

---@return function[]
function served:listenersAnyOutgoing() end

---Socket.IO, client and server. Calling it is the same as connect.
---@class luws.socketio
---@field protocol integer 5
---@field json luws.json
---@field null lightuserdata null inside tables
---@field array_mt table the metatable of arrays
---@field object_mt table the metatable of empty objects
---@overload fun(url: string, opts?: luws.SocketIoOptions): luws.SocketIoSocket
local socketio = {}

---Returns the socket of a namespace, which is the path of the URL.
---@param url string
---@param opts? luws.SocketIoOptions
---@return luws.SocketIoSocket
function socketio.connect(url, opts) end

---Makes a manager of its own.
---@param uri string
---@param opts? luws.SocketIoOptions
---@return luws.SocketIoManager
function socketio.Manager(uri, opts) end

---Makes a server, which listens, or shares the listener of another one.
---@param options? luws.SocketIoServerOptions
---@return luws.SocketIoServer? server
---@return string? message
function socketio.server(options) end

---Makes a binary value.
---@param bytes string
---@return luws.Binary
function socketio.binary(bytes) end

---@param value any
---@return boolean
function socketio.is_binary(value) end

---Makes a table an array, even if it is empty.
---@param list? table
---@return table
function socketio.array(list) end

---Runs a function as a coroutine, in which one may wait for answers.
---@param f function
---@param ... any its arguments
function socketio.spawn(f, ...) end

---The reactor's.
---@param seconds? number
---@return integer
function socketio.step(seconds) end

---@param seconds? number
function socketio.run(seconds) end

function socketio.stop() end

---@return integer
function socketio.getfd() end

---@return number?
function socketio.timeout() end

return socketio
