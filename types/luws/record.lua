---@meta luws.record

--[[
Annotations of recordings (docs/record.md), for lua-language-server and EmmyLua. Nothing here runs. Times are in
seconds, sizes in bytes. spec/types_spec.lua compares the names with the module.
--]]

---Recordings of what a program says and hears.
---@class luws.record
---@field fold luws.Folds
local record = {}

---Begins a recording, or goes on with its file.
---@param options? luws.RecordOptions
---@return luws.Recording? recording
---@return string? message why the file cannot be used
function record.new(options) end

---Reads a recording.
---@param file string
---@param options? luws.LoadOptions
---@return luws.Recording? recording
---@return string? message what was left out; or why it cannot be read
function record.load(file, options) end

---@class luws.RecordOptions
---@field file? string the file; without it, the recording is in memory. Default: none.
---@field clock? luws.Net|fun(): number Default: none (a clock that is never set).
---@field fold? luws.Fold makes states. Default: none (record.fold.default).
---@field redact? fun(row: luws.Row): luws.Row? changes what is kept of a row. Default: none.
---@field seed? integer of random. Default: none (another one each time).
---@field flush? "row"|"close" when rows are written to the file. Default: "row".
---@field memory? number the most bytes that rows take in memory. Default: 16777216.
---@field options? luws.Options for connections that handlers as data open. Default: none.

---@class luws.LoadOptions
---@field fold? luws.Fold Default: none (record.fold.default).
---@field redact? fun(row: luws.Row): luws.Row? Default: none.
---@field clock? luws.Net|fun(): number Default: none (a clock that is never set).
---@field damaged? "skip" leaves damaged lines out. Default: none (they are an error).

---One thing that happened. Must not be changed.
---@class luws.Row
---@field row integer its number
---@field parent? integer the row before, if that is not row - 1
---@field t number seconds since the recording began
---@field conn? string the name of the connection
---@field in? string
---@field out? string
---@field text? string
---@field base64? string
---@field url? string
---@field protocols? string[]
---@field protocol? string
---@field code? integer
---@field reason? string
---@field clean? boolean
---@field error? string
---@field status? integer
---@field outside? true it was not the work of a handler
---@field note? any
---@field call? string
---@field id? integer
---@field ack? integer|"pending"
---@field drop? integer
---@field first? true an outbox has not sent it before
---@field redacted? true an outbox cannot send it again: redact has changed it
---@field lost? true nothing is known of it but its number
---@field number? integer
---@field rtt? number
---@field missing? integer
---@field dir? "in"|"out"
---@field kind? string
---@field data? string text, or the bytes of base64
---@field binary? boolean

---@alias luws.Fold fun(state: any, row: luws.Row): any

---@class luws.Folds
---@field DELETE table removes what it is combined with
local folds = {}

---How connections are.
---@param state any
---@param row luws.Row
---@return table
function folds.default(state, row) end

---What a becomes by b.
---@param a any
---@param b any
---@return any
function folds.combine(a, b) end

---@class luws.RowFilter
---@field conn? string
---@field dir? "in"|"out"
---@field kind? string
---@field from? integer
---@field to? integer

---@class luws.ReplayHandlers
---@field handler? luws.Handler
---@field open_handler? fun(conn: luws.Connection)
---@field control_handler? luws.ControlHandler
---@field drain_handler? fun(conn: luws.Connection)
---@field close_handler? fun(conn: luws.Connection)

---@class luws.ReplayOptions
---@field handlers? table<string, luws.Handler|luws.ReplayHandlers> by the name of the connection
---@field compare? "strict"|"loose"|"off" Default: "strict".
---@field upto? integer the last row. Default: none (all).
---@field speed? number 0: no waiting; 1: as it was. Default: 0.
---@field net? luws.Net where the time passes. Default: none.
---@field live? luws.Options|fun(name: string, url: string): luws.Options, string? goes on live. Default: none.

---@class luws.Difference
---@field row integer
---@field expected? luws.Row
---@field got? luws.Row
---@field text string

---@class luws.Recording
local recording = {}

---The time of the newest row.
---@return number
function recording.clock() end

---The seconds since it began.
---@return number
function recording:time() end

---Opens a connection that is recorded; like wsopen.
---@param name string
---@param url string
---@param handler? luws.Handler
---@param options? luws.Options
---@return luws.Connection|false conn
---@return string? message
---@return luws.Response? response
function recording:wsopen(name, url, handler, options) end

---A handler that records, and calls another one.
---@param name string of the connection
---@param handler? luws.Handler
---@return luws.Handler
function recording:handler(name, handler) end

---A copy of options with which a connection is recorded.
---@param options? luws.Options
---@return luws.Options
function recording:options(options) end

---Records a WebSocket object from now on.
---@param ws luws.WebSocket
---@param name? string
---@return luws.WebSocket
function recording:attach(ws, name) end

---Has f called for rows of a kind, or for calls of a name. It returns effects.
---@param name string
---@param f fun(state: any, row: luws.Row): table?
---@return luws.Recording
function recording:on(name, f) end

---Adds a row for the handlers of this name.
---@param name string
---@param fields? table
function recording:call(name, fields) end

---Records a value, or what a function returns; in a replay, returns what was recorded.
---@param value any
---@return any
function recording:note(value) end

---Like math.random, and the same in a replay.
---@param from? integer
---@param to? integer
---@return number
function recording:random(from, to) end

---@param filter? luws.RowFilter
---@return fun(): luws.Row?
function recording:rows(filter) end

---@param n integer
---@return luws.Row? row
---@return string? message
function recording:row(n) end

---How many rows there are.
---@return integer
function recording:count() end

---Adds a row that is made up.
---@param row table
---@return luws.Row? row
---@return string? message
function recording:write(row) end

---All rows and branches as text.
---@return string
function recording:dump() end

---The state after a row.
---@param n? integer
---@return any state
---@return string? message
function recording:state(n) end

---A recording that shares the rows up to n, and goes on by itself.
---@param n? integer
---@return luws.Recording? branch
---@return string? message
function recording:branch(n) end

---@return luws.Recording[]
function recording:branches() end

---Gives what came in to handlers, and compares what they do.
---@param options? luws.ReplayOptions
---@return boolean? ok
---@return integer|string count how many rows were played; or the first difference
---@return luws.Difference? difference
function recording:replay(options) end

---@param options luws.OutboxOptions
---@return luws.Outbox
function recording:outbox(options) end

---@param options luws.HeartbeatOptions
---@return luws.Heartbeat
function recording:heartbeat(options) end

---Writes all rows in memory into a new file.
---@param file string
---@return boolean? ok
---@return string? message
function recording:save(file) end

---Ends the file.
---@return boolean? ok
---@return string? message
function recording:close() end

---Why rows are not in the file.
---@return string?
function recording:failure() end

---@class luws.OutboxOptions
---@field conn string the name of the connection
---@field ack fun(data: string, row: luws.Row): integer|integer[]|nil which ids a message acknowledges
---@field stamp? fun(data: string, id: integer): string what is sent. Default: none (the data).
---@field limit? number the most bytes that wait. Default: 1048576.
---@field ttl? number seconds after which a message is dropped. Default: none.
---@field on_drop? fun(id: integer, data: string) Default: none.
---@field retry? number seconds after which a message is sent again. Default: none.
---@field reactor? luws.reactor|false whose timer it uses. Default: none (the main one).

---@class luws.Outbox
local outbox = {}

---@param data string
---@param kind? "text"|"binary"
---@return integer? id
---@return string? message
function outbox:send(data, kind) end

---@param id integer
---@return boolean was_waiting
function outbox:acknowledge(id) end

---@return integer messages
---@return integer bytes
function outbox:count() end

function outbox:flush() end

---Sends nothing more. What waits stays in the rows.
function outbox:stop() end

---@class luws.HeartbeatOptions
---@field conn string the name of the connection
---@field interval? number seconds between pings. Default: 20.
---@field missing? integer how many pongs may be missing. Default: 3.
---@field on_dead? fun(conn: luws.Connection|luws.WebSocket, missing: integer) Default: none (the socket is closed).
---@field reactor? luws.reactor|false whose timer it uses. Default: none (the main one).

---@class luws.Heartbeat
---@field last? number seconds of the last round trip
---@field smoothed? number
---@field minimum? number
---@field deviation? number
---@field missing integer
---@field skew? number
local heartbeat = {}

---@return boolean? ok
---@return string? message
function heartbeat:ping() end

---Sends a ping, or gives up.
function heartbeat:turn() end

---Takes what the peer's clock shows now, in seconds. Returns by how much it is ahead.
---@param seconds number
---@return number
function heartbeat:heard(seconds) end

function heartbeat:stop() end

return record
