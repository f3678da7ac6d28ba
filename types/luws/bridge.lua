---@meta luws.bridge

--[[
Annotations of luws.bridge (docs/bridge.md), for lua-language-server and EmmyLua. Nothing here runs. Times are in
seconds and may be fractions, sizes are in bytes. spec/types_spec.lua compares the names with the module.
--]]

---The peer of a client.
---@class luws.BridgePeer
---@field host string its address, such as tcp://host:port or unix:///path
---@field port? integer|string instead of the one in host
---@field framing? string|luws.BridgeFraming how its bytes become messages
---@field framing_config? string what the framing needs
---@field subprotocol? string one of those that the client offers

---A framing function. It is called with a table of its connection's, everything that has come and is no message yet,
---and whether nothing more will come. Returns how many bytes are the next message (0 or nil: more are needed), and its
---kind; without one it is text if it is UTF-8.
---@alias luws.BridgeFraming fun(state: table, data: string, at_end: boolean): integer?, "text"|"binary"|nil

---The options of a bridge. Those of the command line have the same names with `_`.
---@class luws.BridgeOptions
---@field port? integer 0: any that is free. Default: 8001
---@field listen? string an address, a name, or unix://PATH. Default: "::"
---@field ping? number Default: 30
---@field pong_timeout? number Default: that of ping
---@field idle_timeout? number 0: never. Default: 0
---@field handshake_timeout? number Default: 10
---@field connect_timeout? number Default: 10
---@field max_connections? integer Default: 1000
---@field max_message? integer Default: 16777216
---@field max_segment? integer Default: 1048576
---@field buffer? integer Default: 262144
---@field allow? string[] patterns of peers. Default: all
---@field origin? string[] patterns of origins. Default: all
---@field auth? string USER:PASSWORD. Default: none
---@field auth_file? string Default: none
---@field tls_cert? string Default: none
---@field tls_key? string Default: none
---@field tls_client_ca? string Default: none
---@field tls_peer_ca? string Default: the system's
---@field trusted_proxies? string|string[] Default: none
---@field compress? boolean Default: false
---@field status? string a path. Default: none
---@field proxy_protocol? boolean Default: false
---@field reverse? boolean Default: false
---@field log_level? "error"|"info"|"debug" Default: "info"
---@field log? fun(level: string, line: string) instead of the standard error. Default: none
---@field peer? fun(request: luws.Request): luws.BridgePeer?, integer? a backend. Default: none
---@field backend? string "defaultpeer", "file" or lua:FILE. Default: "defaultpeer"
---@field host? string of the backend defaultpeer: the peer. Default: "tcp://localhost"
---@field peer_port? integer|string its port. Default: 5900
---@field framing? string|luws.BridgeFraming Default: "auto"
---@field framing_config? string Default: none
---@field protocol? string the subprotocol to select. Default: none
---@field url? string with reverse: the server. Default: none
---@field path? string of the backend file: the folder. Default: none
---@field expression? string[] and its templates. Default: none

---What a bridge has done.
---@class luws.BridgeStats
---@field connections integer WebSockets that are open
---@field total integer and that have been
---@field refused integer requests
---@field bytes_in integer data from clients
---@field bytes_out integer data to clients

---A bridge.
---@class luws.Bridge
local bridge = {}

---One turn of everything that the reactor drives. Returns how much was done; nil and "closed" once nothing is left.
---@param seconds? number how long it may wait. Default: without limit
---@return integer? done
---@return string? why
function bridge:step(seconds) end

---Steps until a signal closes the bridge (INT, TERM), and nothing is left of it. HUP reads certificates again.
---@return boolean? ok nil: signals cannot be watched
---@return string? why
function bridge:run() end

---Takes nobody any more, and closes all connections with code 1001. Steps do the rest.
---@param options? { timeout?: number } seconds that clients and peers have to end. Default: 5
---@return boolean? ok nil: an option is wrong
---@return string? why
function bridge:close(options) end

---@return boolean whether nothing is left of it
function bridge:is_closed() end

---@return string? host of the first listener, or its path; nil once it is closed
---@return integer? port
function bridge:address() end

---@return string[] where it listens, as URLs
function bridge:addresses() end

---@return luws.BridgeStats
function bridge:stats() end

---@class luws.bridge
local bridges = {}

---Begins to take clients, in the turns of the reactor.
---@param options luws.BridgeOptions
---@return luws.Bridge? bridge
---@return string? why
function bridges.listen(options) end

---Takes clients until a signal comes.
---@param options luws.BridgeOptions
---@return boolean? ok
---@return string? why
function bridges.run(options) end

return bridges
