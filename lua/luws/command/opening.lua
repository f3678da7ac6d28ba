--[[
What the commands that open a connection have in common: the options for that, what they mean to wsopen, how the attempt
is waited for, and with which status the command ends. Knows only what every program can know of a connection.
--]]

local _, import = ...
local blame, kinds, luws = import("blame"), import("kinds"), import("luws")
local output = import("command/output")
local reactor = import("reactor").public

local opening = {}

--- The exit statuses; docs/command.md has them.
opening.STATUS = {
  ended = 0, failed = 1, usage = 2, unconnected = 3, tls = 4, refused = 5, lost = 6, closed = 7,
  INT = 130, TERM = 143, HUP = 129,
}
local STATUS = opening.STATUS

--- Bytes of the largest message that is received. For a person and for pipes, luws's own limit is too low.
opening.MOST = 64 * 1024 * 1024

local function header(text)
  local name, value = text:match "^([^:%s]+):%s*(.-)%s*$"
  if name then return { name, value } end
  return nil, "NAME:VALUE expected"
end

local function credentials(text)
  local user, password = text:match "^([^:]*):(.*)$"
  if user then return { user = user, password = password } end
  return nil, "USER:PASSWORD expected"
end

opening.OPTIONS = {
  { "header", short = "H", value = "NAME:VALUE", many = true, read = header, secret = true,
    help = "sends this header, too; repeatable" },
  { "subprotocol", short = "s", value = "NAME", many = true, help = "offers this subprotocol; repeatable" },
  { "auth", value = "USER:PASSWORD", read = credentials, secret = true,
    help = "by Basic or Digest, as the server asks for it" },
  { "compress", help = "offers compression (permessage-deflate)" },
  { "redirects", value = "N", read = kinds.whole(0, 100), help = "follows up to N redirects" },
  { "timeout", value = "SECONDS", read = kinds.limit, help = "the most time for connecting (15)" },
  { "proxy", value = "URL", help = "through this proxy; 'env': the one that the environment names" },
  { "ca", value = "FILE", help = "trusts these authorities (PEM) instead of the system's" },
  { "fingerprint", value = "SHA-256", help = "trusts this certificate or key, and nothing else" },
  { "insecure", help = "does not verify the server's certificate" },
  { "cert", value = "FILE", help = "the client's certificate (PEM)" },
  { "key", value = "FILE", help = "its private key (PEM)" },
}

-- How the options of wsopen are written on a command line, where they can be wrong.
local WRITTEN = {
  upgrade_headers = "--header", subprotocols = "--subprotocol", auth = "--auth", redirects = "--redirects",
  proxy = "--proxy", host = "--host", ssl_cafile = "--ca", ssl_fingerprint = "--fingerprint",
  ssl_certificate = "--cert", ssl_key = "--key",
}

--- named(why): returns an error of wsopen or listen with the name that its option has on a command line.
function opening.named(why)
  local name, wrong = blame(why)
  return WRITTEN[name] and ("option '%s': %s"):format(WRITTEN[name], (wrong:gsub("ssl_%l+", WRITTEN))) or why
end

--- url(word): returns the URL that a word stands for. As in browsers, http is ws and https is wss. Without a scheme it
-- is ws.
function opening.url(word)
  local scheme, rest = word:match "^(%a[%w+.-]*)://(.*)$"
  if not scheme then return "ws://" .. word end
  scheme = scheme:lower()
  return (scheme == "http" and "ws" or scheme == "https" and "wss" or scheme) .. "://" .. rest
end

--- options(values): returns the options of wsopen for these options of a command.
function opening.options(values)
  local options = {
    wait = false, max_payload_size = opening.MOST, close_timeout = 2,
    subprotocols = values.subprotocol, auth = values.auth, deflate = values.compress, redirects = values.redirects,
    connect_timeout = values.timeout, upgrade_timeout = values.timeout,
    ssl_cafile = values.ca, ssl_certificate = values.cert, ssl_key = values.key, ssl_fingerprint = values.fingerprint,
    ssl_verify = "peer",
  }
  if values.proxy then options.proxy = values.proxy == "env" or values.proxy end
  if values.insecure or values.fingerprint and not values.ca then options.ssl_verify = "none" end
  for _, pair in ipairs(values.header or {}) do
    local headers = options.upgrade_headers or {}
    local before = headers[pair[1]]
    headers[pair[1]] = before and before .. (pair[1]:lower() == "cookie" and "; " or ", ") .. pair[2] or pair[2]
    options.upgrade_headers = headers
  end
  return options
end

--- open(url, handler, options): calls wsopen. Returns the connection; or nil, and what is wrong with the URL or with an
-- option.
function opening.open(url, handler, options)
  local ok, conn, why = pcall(luws.wsopen, url, handler, options)
  if ok and conn then return conn end
  return nil, opening.named(ok and why or (tostring(conn):gsub("^[^%s]*:%d+: ", "")))
end

--- status_of(why, response): returns the exit status for a connection that could not be opened.
function opening.status_of(why, response)
  if response or why:find "^upgrade failed" then return STATUS.refused end
  return why:find "^Failed SSL" and STATUS.tls or STATUS.unconnected
end

-- Signals: the first one that has come, and whether there was another.
local came, is_urgent = nil, false

--- on_signal(f): calls f() at the first signal that asks the command to end. At the next one it ends at once.
function opening.on_signal(f)
  for _, name in ipairs { "INT", "TERM", "HUP" } do
    pcall(reactor.watch_signal, name, function()
      is_urgent = came ~= nil
      came = came or name
      if not is_urgent then f() end
    end)
  end
end

--- signal_status(): returns the exit status after a signal, or nil if none has come.
function opening.signal_status() return came and STATUS[came] end

--- run(is_over): has the reactor go on until is_over() returns true, or nothing is left to drive. Returns false if the
-- command is to end at once.
function opening.run(is_over)
  while not is_over() and not output.broken do
    if is_urgent then return false end
    if reactor.step() == 0 then break end
  end
  return true
end

--- attempt(url, options): opens a connection, and waits for that. Returns it; or nil, why not, and the response of the
-- server if there is one. `options.open_handler` is taken.
function opening.attempt(url, options)
  local is_open, is_over, why = false, false, nil
  options.open_handler = function() is_open = true end
  local function handler(_, opcode, data)
    if opcode == false then why = data end
  end
  local told = options.close_handler
  options.close_handler = function(conn)
    is_over = true
    if told then told(conn) end
  end
  local conn, wrong = opening.open(url, handler, options)
  if not conn then return nil, wrong end
  opening.run(function() return is_open or is_over or came end)
  if is_open and not is_over then return conn end
  luws.wsclose(conn)
  return nil, why or "interrupted", conn.response, conn
end

return opening
