--[[
What the bridge tells its operator: a line to the standard error for each thing that happens. What clients and peers
have said is in these lines, so each is one line, whatever they said.
--]]

local _, import = ...
local guard = import("guard")

local logs = {}

local LEVELS = { error = 1, info = 2, debug = 3 }

-- Of a client's words, at most this many bytes are shown.
local LONGEST = 256

--- shown(text): returns a text on one line, without anything that could control a terminal: other characters than those
-- of ASCII are shown by their numbers. A long one is cut.
function logs.shown(text)
  local cut = text:sub(1, LONGEST):gsub("[%z\1-\31\\\127-\255]", function(c)
    return c == "\\" and "\\\\" or ("\\x%02x"):format(c:byte())
  end)
  return #text > LONGEST and cut .. "..." or cut
end

local function to_errors(_, line) io.stderr:write(line, "\n") end

local Log = {}
Log.__index = Log

--- write(level, format, ...): writes a line, if the level is low enough for that. Text among the arguments is shown as
-- logs.shown has it.
local function write(self, level, format, ...)
  if LEVELS[level] > self.most then return end
  local arguments = { ... }
  for i, argument in ipairs(arguments) do
    if type(argument) == "string" then arguments[i] = logs.shown(argument) end
  end
  -- A failure to log must not become a failure of the bridge.
  pcall(self.output, level, "luws bridge: " .. format:format(guard.unpack(arguments)))
end

function Log:error(...) write(self, "error", ...) end

function Log:info(...) write(self, "info", ...) end

function Log:debug(...) write(self, "debug", ...) end

--- listening(where): the bridge has begun to listen at an address.
function Log:listening(where) self:info("listening at %s", where) end

--- Returns the target of a request without its query, which may have a secret in it; of a request that was not read, -.
local function without_query(target) return target == "" and "-" or (target:gsub("%?.*", "?...")) end

--- Returns who is connected with whom: the fields client, endpoint, peer and subprotocol (or nil) of a connection.
local function ends_of(connection)
  local subprotocol = connection.subprotocol and " (" .. connection.subprotocol .. ")" or ""
  return connection.client or "unix", without_query(connection.endpoint), connection.peer, subprotocol
end

--- connecting(connection): a peer was found for a client.
function Log:connecting(connection) self:debug("connecting: %s %s -> %s%s", ends_of(connection)) end

--- opened(connection): a client is connected with a peer.
function Log:opened(connection) self:info("open: %s %s -> %s%s", ends_of(connection)) end

--- closed(connection): it is over. Further fields: bytes_in (from the client), bytes_out (to it), seconds, code, and
-- why it has ended, if that is an error.
function Log:closed(connection)
  local client, endpoint, peer, subprotocol = ends_of(connection)
  local why = connection.why and ": " .. connection.why or ""
  self:info("closed: %s %s -> %s%s, %.0f bytes in, %.0f bytes out, %.1f s, code %d%s", client, endpoint, peer,
    subprotocol, connection.bytes_in, connection.bytes_out, connection.seconds, connection.code, why)
end

--- refused(client, endpoint, status, why): a request was answered with this status, or not at all (nil).
function Log:refused(client, endpoint, status, why)
  self:info("refused: %s %s, %s: %s", client or "unix", without_query(endpoint), status or "no answer", why)
end

--- new(level [, output]): returns a log that writes what is at most this detailed: "error", "info" or "debug". Lines go
-- to output(level, line) instead of the standard error.
function logs.new(level, output) return setmetatable({ most = LEVELS[level], output = output or to_errors }, Log) end

--- levels: the names of the levels.
logs.LEVELS = { "error", "info", "debug" }

return logs
