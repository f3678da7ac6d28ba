---@meta luws.mock

--[[
Annotations of worlds without a network (docs/mock.md), for lua-language-server and EmmyLua. Nothing here runs. Times
are in seconds of the world's clock. spec/types_spec.lua compares the names with the module.
--]]

---Tests without a network and without waiting.
---@class luws.mock
---@field CONNECTING 0 the server has not been reached yet
---@field OPENING 1 it has, and the upgrade is under way
---@field OPEN 2
---@field CLOSING 3
---@field CLOSED 4
local mock = {}

---Makes a world.
---@param options? luws.NetOptions
---@return luws.Net
function mock.net(options) end

---Loads a Luup plugin into a world, and puts `luup`, `luws`, os.time and os.date in the place of the real ones.
---@param options luws.LuupOptions
---@return luws.LuupHost
function mock.luup(options) end

---A value for a fault that is drawn each time; whole, if both are.
---@param from number
---@param to number
---@return any
function mock.random(from, to) end

---Options of a server that sends messages back.
---@param options? luws.ListenOptions
---@return luws.ListenOptions
function mock.echo(options) end

---An object in the manner of the browsers' WebSocket, whose server the test plays.
---@param url string
---@param delay? number how long each change of its state takes; 1
---@param net? luws.Net one of its own
---@return luws.MockWebSocket
function mock.WebSocket(url, delay, net) end

---@class luws.NetOptions
---@field seed? integer of keys, masks and everything random. Default: 1.
---@field faults? luws.Faults of all its servers. Default: none.
---@field limit? integer the most turns at one moment. Default: 1000000.

---A world.
---@class luws.Net
---@field luws luws an instance of luws whose time and connections are the world's
---@field reactor luws.reactor the world's reactor
---@field connect fun(host: string, port: integer): table?, string? makes a socket like LuaSocket's
local net = {}

---Makes a server. ws URLs and wss URLs alike are without TLS, unless the server has a certificate.
---@param url string
---@param options? luws.ListenOptions
---@return luws.MockServer
function net:listen(url, options) end

---A copy of options for wsopen, with which it opens the connection in this world.
---@param given? luws.Options
---@return luws.Options
function net:options(given) end

---Does everything that is to be done now. No time passes.
function net:run() end

---Lets time pass, and does what falls due.
---@param seconds number
function net:advance(seconds) end

---Lets time pass until nothing is left to be done.
function net:settle() end

---Ends the test: raises an error for expected messages that have not come, open connections, and errors of handlers.
function net:finish() end

---Calls f() after that time.
---@param seconds number
---@param f fun()
---@return luws.Watch
function net:after(seconds, f) end

---The seconds since the world began.
---@return number
function net:now() end

---Connections to this host ("host" or "host:port") are refused from now on.
---@param host string
function net:refuse(host) end

---This host gives no answer from now on.
---@param host string
function net:blackhole(host) end

---Nobody knows this name from now on.
---@param host string
function net:unresolvable(host) end

---Ends refuse, blackhole or unresolvable.
---@param host string
function net:restore(host) end

---@class luws.ListenOptions
---@field subprotocols? string[]
---@field respond? table|string|fun(request: table): any what it answers to a request, unless that is nil
---@field deflate? boolean|table permessage-deflate
---@field max_payload_size? integer in bytes
---@field tls? table { certificate, key }, in PEM
---@field faults? luws.Faults
---@field delay? number until it answers a request
---@field close_delay? number until it answers a close frame
---@field echo? boolean sends messages back
---@field answers? boolean false: sends no pongs
---@field record? string|luws.Recording says what the recorded peer said
---@field compare? "strict"|"off" whether the client has to say what the recorded one said. Default: "off".

---Faults of a network. Each number may be a mock.random.
---@class luws.Faults
---@field short_writes? integer a write takes at most this many bytes
---@field split_reads? integer|integer[] a read brings at most this many bytes
---@field delay? number until bytes arrive
---@field jitter? number the most that is added to it
---@field bandwidth? number bytes per second
---@field corrupt_at? integer the byte at this place arrives changed
---@field reset_after? integer after this many bytes both ways end at once
---@field half_close_after? integer after this many bytes this way ends
---@field stall_after? integer after this many bytes nothing is taken any more
---@field drop_at? "tcp"|"tls"|"upgrade"|"open"|"closing" where the server drops the connection
---@field up? luws.Faults only from the client
---@field down? luws.Faults only to the client

---@class luws.MockServer
---@field attempts integer how many connections have been made to it
local server = {}

---The next connection that was opened to this server; nil if there is none.
---@return luws.MockPeer?
function server:accept() end

---Has the server call f(peer, ...) for an event.
---@param event "open"|"message"|"close"|"ping"|"pong"
---@param f fun(peer: luws.MockPeer, ...)
---@return luws.MockServer
function server:on(event, f) end

---Nobody listens any more.
function server:close() end

---The server's end of a connection.
---@class luws.MockPeer
---@field request table resource, headers, subprotocols
---@field protocol? string
---@field pings string[] the data of pings that have come
---@field pongs string[]
---@field closed? table code, reason, clean; nil while it is open
---@field failure? string what the client has done wrong
local peer = {}

---@param data string
---@param kind? "text"|"binary"
---@return boolean? ok
---@return string? message
function peer:send(data, kind) end

---@param data? string
---@return boolean? ok
---@return string? message
function peer:ping(data) end

---@param data? string
---@return boolean? ok
---@return string? message
function peer:pong(data) end

---Sends a close frame.
---@param code? integer 1000
---@param reason? string
---@return boolean? ok
---@return string? message
function peer:close(code, reason) end

---Puts any bytes on the wire.
---@param bytes string
function peer:raw(bytes) end

---Ends the stream in both directions, without a close frame.
function peer:drop() end

---The same, and what is under way is lost.
function peer:reset() end

---Ends the stream to the client.
function peer:half_close() end

---Stops reading, with room for that many bytes.
---@param bytes? integer 0
function peer:pause(bytes) end

---Reads again.
function peer:resume() end

---The data of a message, or of all.
---@param number? integer
---@return string|string[]|nil
function peer:received(number) end

---The next messages must be these: strings, functions of data and kind, or { pattern = "..." }.
---@param ... string|table|fun(data: string, kind: string): boolean?, string?
function peer:expect(...) end

---@class luws.MockWebSocket
---@field readyState integer
---@field url string
---@field delay number
---@field id integer
---@field net luws.Net
---@field peer? luws.MockPeer once it is open
---@field onopen? fun(event: table)
---@field onmessage? fun(event: table)
---@field onclose? fun(event: table)
---@field onerror? fun(event: table)
local websocket = {}

---Sends a text.
---@param data string
---@return boolean? ok
---@return string? message
function websocket:send(data) end

---Closes. It is closed after the delay.
---@param code? integer
---@param reason? string
---@return boolean? ok
---@return string? message
function websocket:close(code, reason) end

---The server sends a message.
---@param data string
---@param kind? "text"|"binary"
---@return boolean? ok
---@return string? message
function websocket:receive(data, kind) end

---The server closes. It has done so after the delay.
---@param code? integer
---@param reason? string
---@return boolean? ok
---@return string? message
function websocket:remoteClose(code, reason) end

---@class luws.LuupOptions
---@field folder string with the plugin's files
---@field plugin string its name: I_NAME1.xml is its implementation
---@field service? string of get and set
---@field openLuup? boolean whether the host is openLuup
---@field net? luws.Net a world; a new one, if there is none

---@class luws.LuupHost
---@field net luws.Net
---@field logged table[] { text, level } of each luup.log
---@field failure table<integer, integer> by device
---@field attributes table<integer, table> by device
---@field delay? number the last that call_delay was given
local host = {}

---Calls the plugin's startup function for a device.
---@param device integer
---@return any ...
function host:startup(device) end

---@param device integer
---@param name string
---@param settings? table
---@return any ...
function host:action(device, name, settings) end

---@param device integer
---@param name string
---@return string?
function host:get(device, name) end

---@param device integer
---@param name string
---@param value string
function host:set(device, name, value) end

---Puts everything back, and forgets the plugin.
function host:stop() end

return mock
