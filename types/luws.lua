---@meta luws

--[[
Annotations of luws for lua-language-server and EmmyLua: completion, hover texts and type checks in an editor. Nothing
here runs. Name this folder in the editor's settings, for instance in .luarc.json:

    { "workspace.library": ["/path/to/luws/types"] }

A module under a plugin's name needs one line more:

    local luws = require "L_MyPlugin_LuWS" ---@type luws.PluginModule

Times are in seconds and may be fractions. Sizes are in bytes. spec/types_spec.lua compares the names and the defaults
in this file with the driver.
--]]

---A frame that a program may send (RFC 6455 section 5.2).
---@alias luws.Opcode
---| 1 # text, which must be valid UTF-8
---| 2 # binary
---| 8 # close: two bytes of code and the reason; wsclose is easier
---| 9 # ping, at most 125 bytes
---| 10 # pong, at most 125 bytes

---What functions take for a connection: without one they fail with "not connected", or do nothing.
---@alias luws.MaybeConnection luws.Connection|false|nil

---A message: 1 is text, 2 is binary.
---@alias luws.MessageOpcode
---| 1
---| 2

---A control frame: 8 is close, 9 is ping, 10 is pong.
---@alias luws.ControlOpcode
---| 8
---| 9
---| 10

---An LTN12 source: returns the next chunk; nil at the end; or nil and an error message.
---@alias luws.Source fun(): string?, string?

---An LTN12 sink: gets each chunk; nil at the end; or nil and an error message. Returns 1, or nil and an error message.
---@alias luws.Sink fun(chunk?: string, err?: string): any, string?

---Called for each message, and once with `false` and a text when the connection is lost. `...` are the handler_args.
---@alias luws.Handler fun(conn: luws.Connection, opcode: luws.MessageOpcode|false, data: string, ...: any)

---Called for each control frame, before the default reply. If it returns exactly `false`, that reply is not sent.
---@alias luws.ControlHandler fun(conn: luws.Connection, opcode: luws.ControlOpcode, data: string, ...: any): boolean?

---Called at the start of each message. A sink that it returns gets the message in pieces.
---@alias luws.SinkChooser fun(conn: luws.Connection, opcode: luws.MessageOpcode): luws.Sink?

---Opens a socket: LuaSocket's, LuaSec's, or any object with the same methods; or nil and an error message.
---@alias luws.Connector fun(host: string, port: integer, options: luws.Options): luws.UserSocket?, string?

---What `wsopen` needs of a socket from the option `connect`. The methods mean what LuaSocket's do.
---@class luws.UserSocket
---@field send fun(self: any, data: string): integer?, string?, integer?
---@field receive fun(self: any, size: integer): string?, string?, string?
---@field settimeout fun(self: any, seconds?: number): any
---@field close fun(self: any): any
---@field getfd? fun(self: any): integer
---@field dirty? fun(self: any): boolean
---@field watch? fun(self: any, f: fun()) is given a function to call when something has come
---@field setoption? fun(self: any, name: string, on: boolean): any called with "keepalive" and "tcp-nodelay"

---A server's headers by their names in lower case; those that are repeated are joined by ", ".
---@class luws.Headers
---@field ["set-cookie"]? string[] each cookie by itself
---@field [string] string

---What a server said that refused the upgrade.
---@class luws.Response
---@field status integer the HTTP status code, such as 404
---@field reason string the text after the status code, such as "Not Found"
---@field headers luws.Headers
---@field body string the first 4096 bytes of the body, as far as they came within half a second

---How long the steps of an opening have taken, in seconds. Those that were not taken, or have failed, are nil.
---@class luws.Timings
---@field lookup? number
---@field connect? number
---@field proxy? number
---@field tls? number
---@field upgrade? number

---What is known of a server over wss (`conn.tls`). What is not known is nil.
---@class luws.TlsInfo
---Whether the server was found to be what ssl_verify = "peer" or ssl_fingerprint asked for.
---@field verified boolean
---@field fingerprint? string SHA-256 of the certificate, "AA:BB:...", as ssl_fingerprint takes it
---@field public_key? string SHA-256 of its public key, "sha256/BASE64", as ssl_fingerprint takes it
---@field subject? string whom the certificate is for, such as "CN=hub,O=Home"
---@field issuer? string who signed it, in the same form
---@field not_after? number when it expires, in seconds since 1970
---@field alpn? string the application protocol that the server chose from ssl_alpn
---@field version? string the version of TLS, such as "TLSv1.3"
---@field cipher? string the cipher, as OpenSSL calls it

---Options of compression (permessage-deflate, RFC 7692).
---@class (exact) luws.DeflateOptions
---From 1 (fastest) to 9 (smallest). Default: 6.
---@field level? integer
---Messages with fewer bytes are sent uncompressed. Default: 128.
---@field threshold? integer
---Forget what was sent after each message: less memory, worse compression. Default: false.
---@field client_no_context_takeover? boolean
---Ask the server to do the same. Default: false.
---@field server_no_context_takeover? boolean
---The base-2 logarithm of the window for sending, from 8 to 15. Default: none (15, unless the server wants less).
---@field client_max_window_bits? integer
---The base-2 logarithm of the window that the server is asked to use, from 8 to 15. Default: none (15).
---@field server_max_window_bits? integer

---Options of a connection through the SockProxy plugin.
---@class (exact) luws.SockProxyOptions
---Where SockProxy is. Default: "127.0.0.1".
---@field host? string
---Its TCP port, from 1 to 65535. Default: 2504.
---@field port? integer
---The number of the device to notify; needs `service`. Default: none (nobody is notified).
---@field device? integer
---The service of the action, "urn:...". Default: none.
---@field service? string
---The action that SockProxy calls when something has come. Default: "HandleReceive".
---@field action? string
---What SockProxy is to call this connection. Default: none (SockProxy chooses).
---@field pid? string
---Milliseconds of silence until SockProxy closes; 0: never. Default: 0.
---@field rtim? integer
---Seconds between notifications. Default: 0.
---@field pace? integer
---Seconds to reach SockProxy and for it to connect, which may take it 5. Default: 10.
---@field timeout? number
---Fail where SockProxy cannot be used, instead of connecting directly. Default: false.
---@field required? boolean

---How a lost connection is opened again.
---@class (exact) luws.ReconnectOptions
---Seconds before the first attempt. Default: 1.
---@field first? number
---Seconds before an attempt at most. Default: 60.
---@field most? number
---By which the delay grows with each attempt, at least 1. Default: 2.
---@field factor? number
---The part of each delay that is left to chance, from 0 to 1. Default: 0.5.
---@field jitter? number
---Seconds of being open after which the delay is `first` again. Default: 30.
---@field stable? number
---How many attempts in a row are made before luws gives up. Default: none (any number).
---@field attempts? integer
---Called before each delay. false: give up; a number: seconds to wait; anything else: as usual. Default: none.
---@field on? fun(conn: luws.Connection, why: string, attempt: integer): false|number|nil

---A proxy, for the option `proxy`.
---@class (exact) luws.ProxyOptions
---Where it is: "[scheme://][user:password@]host[:port]". Required. Default: none.
---@field url string
---The user, instead of the URL's. Default: none.
---@field user? string
---The password, instead of the URL's. Default: none.
---@field password? string
---Headers for the request to an HTTP proxy, by name. Default: none.
---@field headers? table<string, string|number>

---TLS options by LuaSec's own names, for the option `ssl`. Each can also be given as the option `ssl_NAME`.
---@class (exact) luws.TlsOptions
---Who is trusted: "none": anyone; "peer": a certificate by a trusted authority for this host. Default: "none".
---@field verify? string|string[]
---false: "peer" checks the signatures only. true goes with "peer" only. Default: true.
---@field verify_hostname? boolean
---SHA-256 of certificates or public keys, "AA:BB:..." or "sha256/BASE64"; the server must have one. Default: none.
---@field fingerprint? string|string[]
---PEM files of the authorities that "peer" trusts, and no others. Default: none (the system's).
---@field cafile? string|string[]
---A folder of such files. Default: none (the system's).
---@field capath? string
---The client's own certificate: a PEM file with its chain, or PKCS#12. Default: none.
---@field certificate? string
---Its private key: a PEM file, not encrypted. Default: none.
---@field key? string
---The password of the PKCS#12 file, or a function that returns it. Default: none.
---@field password? string|fun(): string
---"tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3": exactly these; "any", "all", "sslv23": TLS 1.2 or newer. Default: "any".
---@field protocol? string|string[]
---LuaSec's words, such as "no_tlsv1_2", as an array or separated by commas. Default: "all".
---@field options? string|string[]
---OpenSSL's list of ciphers for TLS 1.2 and older; "@SECLEVEL=0" in it sets the security level. Default: none (usual).
---@field ciphers? string
---OpenSSL's list of cipher suites for TLS 1.3. Default: none (the usual ones).
---@field ciphersuites? string
---A curve for the exchange of keys, such as "P-256". Default: none (the usual ones).
---@field curve? string
---The same, a list such as "X25519:P-256", which takes precedence over `curve`. Default: none (the usual ones).
---@field curveslist? string
---Application protocols to offer (RFC 7301). Default: none.
---@field alpn? string|string[]
---The name to send to the server and to verify; false: send none. Default: none (the host of the URL).
---@field sni? string|false
---Nothing but "client" is accepted. Default: "client".
---@field mode? string

---Options of `auth`: `user` with the next two, or `bearer`.
---@class luws.AuthOptions
---Default: none.
---@field user? string
---Default: none.
---@field password? string
---Use this one only. Default: none.
---@field scheme? "basic"|"digest"
---A token. Default: none.
---@field bearer? string

---Options of `wsopen`. All are optional.
---@class luws.Options
---Array of further arguments for both handlers; with `n` if the last ones are nil. Default: none.
---@field handler_args? table
---Called before the default reply to a close, ping or pong. Default: none.
---@field control_handler? luws.ControlHandler
---Seconds without a byte from the peer until the handler gets "message timeout"; 0: never. Default: 0.
---@field receive_timeout? number
---Seconds without a byte from the peer until it is sent a ping; 0: never. Default: 0.
---@field ping_interval? number
---Seconds of silence after that until the connection ends with "ping timeout"; 0: never. Default: none (ping_interval).
---@field ping_timeout? number
---The most bytes that one wsreceive reads, at most 1 MiB. Default: none (from 16 KiB to 256 KiB).
---@field receive_chunk_size? number
---The most bytes of one message; a larger one ends the connection with code 1009. Default: 65535.
---@field max_payload_size? number
---false takes and sends text in any encoding, such as ISO 8859-1. Default: true.
---@field validate_utf8? boolean
---Take frames whose length is not in its shortest form. Default: false.
---@field allow_long_lengths? boolean
---Seconds that wssend and wsflush wait for room; with 0, wssend queues instead. Default: 5 (0 with wait = false).
---@field send_timeout? number
---The most bytes that messages may make wait; more are refused ("send error: buffer full"); 0: no limit. Default: 0.
---@field max_buffered? number
---Called by wsreceive when nothing waits any more, after much did or a message was refused. Default: none.
---@field drain_handler? fun(conn: luws.Connection)
---Offer compression: true, or a table of its options. Default: false.
---@field deflate? boolean|luws.DeflateOptions
---Gather small messages until there are this many bytes; true: 16384. Default: false.
---@field coalesce? boolean|number
---Called after each wssend and wsclose, with what was sent; and why not, if it was not. Default: none.
---@field send_handler? fun(conn: luws.Connection, opcode: integer, data: string, err?: string)
---Larger messages are sent in fragments of this many bytes; 0: in one frame. Default: 0.
---@field fragment_size? number
---false sends unmasked frames, against RFC 6455 section 5.1. Default: true.
---@field use_masking? boolean
---Seconds for the name, TCP and TLS together. Default: 15.
---@field connect_timeout? number
---Seconds for the WebSocket upgrade after that. Default: 5.
---@field upgrade_timeout? number
---Seconds that a closed connection may wait for the peer's answer; 0: not at all. Default: 0.5.
---@field close_timeout? number
---false: wsopen returns at once; "yield": it lets other coroutines run meanwhile. Default: true.
---@field wait? boolean|"yield"
---Called each time that the connection was opened, before any message. Default: none.
---@field open_handler? fun(conn: luws.Connection)
---Open the connection again when it is lost: true, or a table of settings. Default: false.
---@field reconnect? boolean|luws.ReconnectOptions
---The bytes of messages that wssend keeps while the connection is not open; 0: it refuses them. Default: 0.
---@field queue? number
---What drives the connection from its opening on. Default: none.
---@field reactor? luws.reactor
---Called by the reactor when nothing is left of the connection. Default: none.
---@field close_handler? fun(conn: luws.Connection)
---With wait = false: the most connections opened to one address at the same time; 0: no limit. Default: 0.
---@field connecting_limit? integer
---Opens the socket in place of luws, to the proxy if there is one. Not together with sockproxy. Default: none.
---@field connect? luws.Connector
---Connect through the SockProxy plugin: true, or a table of its options. Default: false.
---@field sockproxy? boolean|luws.SockProxyOptions
---Connect through a proxy: its URL, or a table; true: what the environment names. Default: false.
---@field proxy? boolean|string|luws.ProxyOptions
---The only scheme by which an HTTP proxy gets the password. Default: none (what it asks for).
---@field proxy_auth? "basic"|"digest"
---TLS to an https proxy, by LuaSec's own names; `verify` is "peer" by default. Default: none.
---@field proxy_ssl? luws.TlsOptions
---Chooses a sink for each message. Default: none.
---@field sink? luws.SinkChooser
---Headers for the upgrade request, by name. Default: none.
---@field upgrade_headers? table<string, string|number>
---Who you are: a user and a password, or a token. Default: none.
---@field auth? luws.AuthOptions
---The most redirects to follow; 0: a redirect is an error. Default: 0.
---@field redirects? integer
---Follow redirects from wss to ws, too. Default: false.
---@field redirects_to_ws? boolean
---Sends the cookies of this jar, and keeps those of the server in it. Default: none.
---@field cookies? luws.Jar
---A subprotocol to offer, or an array of them, the preferred one first. Default: none.
---@field subprotocols? string|string[]
---TLS options by LuaSec's own names. `ssl_NAME` takes precedence. Default: none.
---@field ssl? luws.TlsOptions
---See luws.TlsOptions. Default: "none".
---@field ssl_verify? string|string[]
---See luws.TlsOptions. Default: true (with `peer`).
---@field ssl_verify_hostname? boolean
---See luws.TlsOptions. Default: none. Not over ws.
---@field ssl_fingerprint? string|string[]
---See luws.TlsOptions. Default: none (the system's authorities).
---@field ssl_cafile? string|string[]
---See luws.TlsOptions. Default: none (the system's authorities).
---@field ssl_capath? string
---See luws.TlsOptions. Default: none.
---@field ssl_certificate? string
---See luws.TlsOptions. Default: none.
---@field ssl_key? string
---See luws.TlsOptions. Default: none.
---@field ssl_password? string|fun(): string
---See luws.TlsOptions. Default: "any".
---@field ssl_protocol? string|string[]
---See luws.TlsOptions. Default: "all".
---@field ssl_options? string|string[]
---See luws.TlsOptions. Default: none.
---@field ssl_ciphers? string
---See luws.TlsOptions. Default: none.
---@field ssl_ciphersuites? string
---See luws.TlsOptions. Default: none.
---@field ssl_curve? string
---See luws.TlsOptions. Default: none.
---@field ssl_curveslist? string
---See luws.TlsOptions. Default: none.
---@field ssl_alpn? string|string[]
---See luws.TlsOptions. Default: none (the host of the URL).
---@field ssl_sni? string|false
---See luws.TlsOptions. Default: "client".
---@field ssl_mode? string

---The socket of a connection that luws has opened itself.
---@class luws.Socket
local Socket = {}

---The number of the descriptor; -1 once it is closed.
---@return integer
function Socket:getfd() end

---The address that it is connected to; nil and the error if it is closed.
---@return string? address
---@return integer|string port or the error
---@return "inet"|"inet6"|nil family
function Socket:getpeername() end

---The same of our own end.
---@return string? address
---@return integer|string port or the error
---@return "inet"|"inet6"|nil family
function Socket:getsockname() end

---Switches a socket option.
---@param name "tcp-nodelay"|"keepalive"
---@param on boolean
---@return 1|nil ok
---@return string? message "unsupported option", "closed", or what the system says
---@return_overload 1
---@return_overload nil, string
function Socket:setoption(name, on) end

---Ends the stream; the connection then finds its end. wsclose is the orderly way.
---@return 1
function Socket:close() end

---A connection. Fields of your own may be added; `msghandler` and what is in `options` may be replaced.
---@class luws.Connection
---@field connected boolean whether it is open
---@field closing boolean whether it is ending or has ended
---@field proto "ws"|"wss"
---@field ip string the host of the URL, or to which redirects have led; proto, port and path are of the same place
---@field port integer
---@field path string the path and query of the URL
---@field options luws.Options the table that was given to wsopen itself
---@field msghandler? luws.Handler
---@field socket luws.Socket|luws.UserSocket what `connect` returned is given back as it is
---@field proxied boolean whether it goes through a proxy
---@field sockproxy_pid? string what SockProxy calls it
---@field subprotocol? string the subprotocol that the server selected
---@field response_headers luws.Headers of the server's response
---@field response? luws.Response of a server that has refused, if nobody waited for it
---@field tls? luws.TlsInfo over wss only
---@field lastMessage number when the last message came, in seconds since 1970
---@field lastPing number when the last complete frame came, in seconds since 1970
---@field bufferedAmount integer bytes that were sent and have not left yet, and what the option queue keeps
---With ping_interval: the seconds from the last ping to its pong; nil before the first pong.
---@field latency? number
---@field latency_smoothed? number the same, smoothed: each new latency counts for one eighth
---@field timings? luws.Timings how long the steps of the last opening have taken
---@field bufferedPayload integer bytes of the data of messages that have not left completely
---After the end: the code in the peer's close frame; 1005 if it had none, 1006 if no close frame came.
---@field close_code? integer
---@field close_reason? string after the end: the reason in the peer's close frame, or ""
---@field was_clean? boolean after the end: whether the peer's close frame has come and ours has left
---@field close_code_sent? integer after the end: the code in our close frame, 1005 for none; nil if none was sent
---@field close_reason_sent? string after the end: the reason in our close frame, or ""
local Connection = {}

---For select: the descriptor; -1 once the connection has ended, and for descriptors from 1024 on.
---@return integer
function Connection:getfd() end

---Whether wsreceive has something to do although the descriptor may not be readable.
---@return boolean
function Connection:dirty() end

---For cqueues, luv and others: the descriptor; -1 once the connection has ended.
---@return integer
function Connection:pollfd() end

---What to wait for on the descriptor: "rw" while bytes wait to be sent.
---@return "r"|"rw"
function Connection:events() end

---Seconds until wsreceive has to be called because of receive_timeout or ping_interval; nil: no limit.
---@return number?
function Connection:timeout() end

---Sets whether messages that are sent from now on are compressed, if the peer has agreed to that.
---@param on boolean
---@return boolean ok
---@return string? message "not connected"
function Connection:compress(on) end

---Has the reactor receive nothing more, not even messages that have come already. What is sent still leaves.
---@return boolean ok
---@return string? message "not connected"
function Connection:pause() end

---Has the reactor receive again.
---@return boolean ok
---@return string? message "not connected"
function Connection:resume() end

---For copas. Changes nothing; how long luws waits is up to its options.
---@return 1
function Connection:settimeout() end

---For copas: calls wsreceive. Returns how many bytes came; or nil and "timeout", or why no more will come.
---@return integer? bytes
---@return string? message
---@return_overload integer
---@return_overload nil, string
function Connection:receive() end

---Calls wsclose.
---@param code? integer
---@param reason? string
---@return 1
function Connection:close(code, reason) end

---WebSockets, with the functions of LuWS.
---@class luws
---@field _VERSION integer of the form yyddd, larger than LuWS's
---@field debug_mode boolean true logs a line for each frame; may be switched at any time
local luws = {}

---Opens a connection. Waits until it is open, or for its time limits, unless the option wait says otherwise. Raises an
---error if the URL is not a valid ws:// or wss:// URL; every other failure is returned. Without a handler, messages are
---received and dropped.
---@param url string such as "wss://example.com/socket"
---@param handler? luws.Handler
---@param options? luws.Options
---@return luws.Connection|false conn
---@return string? message why there is no connection
---@return luws.Response? response if the server refused the upgrade by an HTTP response
---@return_overload luws.Connection
---@return_overload false, string, luws.Response?
function luws.wsopen(url, handler, options) end

---Sends a message or a control frame. Waits for at most send_timeout while the peer does not read (from a source: for
---each chunk). `data` is a string, an LTN12 source whose chunks become fragments, or any value that tostring accepts.
---@param conn luws.MaybeConnection
---@param opcode luws.Opcode
---@param data? string|number|boolean|table|luws.Source a control frame needs none and takes no source
---@return boolean ok
---@return string? message
---@return_overload true
---@return_overload false, string
function luws.wssend(conn, opcode, data) end

---Reads once and calls the handler for each complete message. Never blocks. Stops after 1,000 events or 5 milliseconds.
---nil means that the connection is finished, except with "message timeout", after which it is still open.
---@param conn luws.MaybeConnection
---@return boolean? more whether to call it again soon
---@return integer|string bytes how many came; or why no more will come
---@return_overload boolean, integer
---@return_overload nil, string
function luws.wsreceive(conn) end

---Ends the connection and returns at once. No handler is called any more. Safe at any time, any number of times, on
---anything. What is queued, the close frame and the peer's answer get close_timeout.
---@param conn any
---@param code? integer from 1000 to 1003, 1007 to 1014 or 3000 to 4999. Default: 1000.
---@param reason? string at most 123 bytes of UTF-8
function luws.wsclose(conn, code, reason) end

---Blocks until wsreceive has something to do, or for that long; after wsclose, until the closing handshake has ended.
---@param conn luws.MaybeConnection
---@param seconds? number without it there is no limit
---@return boolean ready whether it has come to that
function luws.wswait(conn, seconds) end

---Sends what the option coalesce has gathered, and whatever else is queued. Waits for room as wssend does.
---@param conn luws.MaybeConnection
---@return boolean ok whether all of it has left
---@return string? message
---@return_overload true
---@return_overload false, string
function luws.wsflush(conn) end

---When the last complete frame came, in seconds since 1970; 0 for what is not a connection.
---@param conn any
---@return number
function luws.wslastping(conn) end

---Forgets a message that has come in part. What still comes of it is not delivered.
---@param conn luws.MaybeConnection
function luws.wsreset(conn) end

---Takes bytes as if they had come from the socket (for wss: from the TLS layer).
---@param data string
---@param conn luws.MaybeConnection
---@return true|nil ok
---@return string? message
---@return_overload true
---@return_overload nil, string
function luws.wshandleincoming(data, conn) end

---Inside openLuup: has its scheduler call wsreceive whenever something has come, until the connection ends.
---@param conn luws.MaybeConnection
---@return boolean ok
---@return string? message "this is not openLuup", for instance
---@return_overload true
---@return_overload false, string
function luws.watch(conn) end

---A value as text for a log, tables with their contents.
---@param value any
---@return string
function luws.dump(value) end

---Seconds since 1970 with their fraction, as LuaSocket's.
---@return number
function luws.gettime() end

---Does nothing for that long, as LuaSocket's.
---@param seconds number
function luws.sleep(seconds) end

---Another copy of the module, with its own debug_mode.
---@param name? string stands in its log messages. Default: "luws".
---@return luws
function luws.instance(name) end

---The module under a plugin's own name: what a copy of L_MyPlugin_LuWS.lua returns.
---@class luws.PluginModule: luws
---@field ABOUT table what the module is, as forks of LuWS have it
local plugin = {}

---Sets debug_mode, as in forks of LuWS.
---@param debug? boolean
function plugin.wsinit(debug) end

return luws
