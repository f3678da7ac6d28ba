---@meta luws.websocket

--[[
Annotations of the WebSocket object (docs/websocket.md), for lua-language-server and EmmyLua. Nothing here runs.
spec/types_spec.lua compares the names with the module.
--]]

---What the constructor takes besides the options of wsopen.
---@class luws.WebSocketOptions: luws.Options
---@field base? string the URL that a relative one is relative to
---@field origin? string the value of the Origin header

---An event, or a table that dispatchEvent makes one.
---@class luws.Event
---@field type string
---@field target? luws.WebSocket
---@field currentTarget? luws.WebSocket
---@field bubbles? boolean
---@field cancelable? boolean
---@field defaultPrevented? boolean
---@field isTrusted? boolean false if the program has dispatched it
---@field eventPhase? integer
---@field data? string|integer[]|ffi.cdata* of message, ping and pong events
---@field size? integer the number of bytes, with binaryType "ffi"
---@field binary? boolean of message events
---@field origin? string of message events
---@field lastEventId? string of message events
---@field message? string of error events: why the connection has failed
---@field code? integer of close events
---@field reason? string of close events
---@field wasClean? boolean of close events
local event = {}

function event:preventDefault() end

function event:stopPropagation() end

function event:stopImmediatePropagation() end

---@return luws.WebSocket[]
function event:composedPath() end

---@alias luws.Listener fun(event: luws.Event): any

---@class luws.ListenerOptions
---@field once? boolean
---@field passive? boolean
---@field capture? boolean
---@field signal? luws.AbortSignal

---@class luws.AbortSignal
---@field aborted boolean
---@field reason any
---@field onabort? luws.Listener

---@class luws.AbortController
---@field signal luws.AbortSignal
local controller = {}

---Removes the listeners that were added with its signal.
---@param reason? any
function controller:abort(reason) end

---A WebSocket as browsers have it.
---@class luws.WebSocket
---@field CONNECTING 0
---@field OPEN 1
---@field CLOSING 2
---@field CLOSED 3
---@field readyState 0|1|2|3
---@field url string
---@field protocol string
---@field extensions string
---@field bufferedAmount integer bytes of data that were sent and have not left
---@field binaryType "string"|"table"|"ffi"
---@field connection? luws.Connection
---@field responseHeaders? luws.Headers
---@field onopen? luws.Listener
---@field onmessage? luws.Listener
---@field onerror? luws.Listener
---@field onclose? luws.Listener
---@field onping? luws.Listener
---@field onpong? luws.Listener
local ws = {}

---Sends a string as text; with "binary", or as a table of bytes or an array of the ffi, as bytes.
---@param data string|integer[]|ffi.cdata*
---@param how? "binary"|integer
function ws:send(data, how) end

---@param code? integer 1000, or from 3000 to 4999
---@param reason? string at most 123 bytes
function ws:close(code, reason) end

---@param data? string at most 125 bytes
function ws:ping(data) end

---@param type string
---@param listener luws.Listener|table a function, or a table with a function handleEvent
---@param options? luws.ListenerOptions|boolean
function ws:addEventListener(type, listener, options) end

---@param type string
---@param listener luws.Listener|table
---@param options? luws.ListenerOptions|boolean
function ws:removeEventListener(type, listener, options) end

---@param made luws.Event
---@return boolean allowed false if a listener has prevented the default
function ws:dispatchEvent(made) end

---@return integer
function ws:getfd() end

---@return integer
function ws:pollfd() end

---@return boolean
function ws:dirty() end

---@return "r"|"rw"
function ws:events() end

---@return number?
function ws:timeout() end

---@return integer
function ws:settimeout() end

---@return integer? bytes
---@return string? message
function ws:receive() end

---The class. WebSocket(url, protocols, options) makes an object.
---@class luws.WebSocketClass
---@field CONNECTING 0
---@field OPEN 1
---@field CLOSING 2
---@field CLOSED 3
---@field onerror? fun(err: string, event: luws.Event) is given the errors of listeners instead of the log
---@overload fun(url: string, protocols?: string|string[], options?: luws.WebSocketOptions): luws.WebSocket
local WebSocket = {}

---@param seconds? number
function WebSocket.run(seconds) end

---@param seconds? number
---@return integer turns
function WebSocket.step(seconds) end

function WebSocket.stop() end

---@return luws.AbortController
function WebSocket.AbortController() end

---Makes a socket for the option connect from one with callbacks.
---@param socket table
---@return luws.UserSocket
function WebSocket.callback_socket(socket) end

return WebSocket
