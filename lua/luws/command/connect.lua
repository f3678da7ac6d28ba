--[[
luws connect: a conversation. What is typed is sent, and what comes is printed, until one of the two ends it.
--]]

local _, import = ...
local failure, input, kinds = import("command/failure"), import("command/input"), import("kinds")
local luws, opening, output = import("luws"), import("command/opening"), import("command/output")
local pretty, reactor, secrets = import("command/pretty"), import("reactor").public, import("secrets")

local STATUS = opening.STATUS

-- While more bytes than this wait to be sent, no more input is read.
local MOST_WAITING = 1024 * 1024

-- The most bytes of a line that Linux takes from a terminal. Of a longer one, it loses the rest.
local LONGEST_TYPED = 4095

local function seconds_or_forever(text)
  if text == "forever" then return math.huge end
  local seconds, wrong = kinds.seconds(text, true)
  return seconds, wrong and wrong .. ", or 'forever'"
end

local connect = {
  summary = "talks to a server: sends lines, prints messages",
  usage = "luws connect [OPTION]... URL",
  argument = "the URL",
  description = "Sends each line of the standard input as a message, and prints the messages that come.",
  options = {
    { "execute", short = "x", value = "TEXT", many = true, help = "sends TEXT instead of the input; repeatable" },
    { "wait", short = "w", value = "SECONDS", read = seconds_or_forever,
      help = "how long to go on after the last line (1), or 'forever'" },
    { "binary", short = "b", help = "sends lines as binary messages" },
    { "output", short = "o", value = "FILE", help = "writes binary messages to FILE, one after the other" },
    { "json", short = "j", help = "prints JSON with indentation" },
    { "ping", value = "SECONDS", read = kinds.seconds,
      help = "pings a server that is silent so long; 0: never" },
    { "slash", help = "takes commands such as /ping from pipes and files, too" },
    { "verbose", short = "v", help = "says more: headers, TLS, pings" },
    { "quiet", short = "q", help = "says nothing but errors" },
  },
  notes = "On a terminal, /help lists commands. docs/command.md has the exit statuses.",
}
for _, row in ipairs(opening.OPTIONS) do table.insert(connect.options, row) end

-- The most bytes of a close frame's reason (RFC 6455 section 5.5, without the code).
local LONGEST_REASON = 123

-- The payload of the ping after everything that was sent.
local LAST_PING = "luws: that was all"

-- What codes of close frames mean (RFC 6455 section 7.4.1, and the registry of IANA).
local MEANINGS = {
  [1000] = "normal closure", [1001] = "going away", [1002] = "protocol error", [1003] = "unsupported data",
  [1005] = "no status", [1007] = "invalid data", [1008] = "policy violation", [1009] = "message too big",
  [1010] = "extension expected", [1011] = "internal error", [1012] = "service restart", [1013] = "try again later",
  [1014] = "bad gateway",
}

--- code_text(code, reason): returns a code of a close frame with what it means, and its reason.
local function code_text(code, reason)
  local meaning = MEANINGS[code]
  return code .. (meaning and " (" .. meaning .. ")" or "") .. (reason and reason ~= "" and ": " .. reason or "")
end

local Talk = {}
Talk.__index = Talk

function Talk:say(...)
  if not self.values.quiet then output.say(...) end
end

--- fail(text): something could not be done. On a terminal the person sees that; elsewhere it ends the conversation.
function Talk:fail(text)
  output.fail(text)
  if output.is_interactive then return end
  self.status = self.status or STATUS.failed
  self:close()
end

--- close([code, reason]): ends the conversation from our side.
function Talk:close(code, reason)
  if self.input then self.input:stop() end
  self.is_ours = true
  luws.wsclose(self.conn, code or 1000, reason)
end

--- send(opcode, data): sends a message, or says why not.
function Talk:send(opcode, data)
  local ok, why = luws.wssend(self.conn, opcode, data)
  if ok then return true end
  if self.conn.connected then self:fail("not sent: " .. why) end
  self.has_unsent = true
  return false
end

--- is_full(): returns whether the server takes less than there is to send.
function Talk:is_full() return self.conn.bufferedAmount > MOST_WAITING end

--- finish(): everything was given to wssend. Once it has left, what comes is waited for a while.
function Talk:finish()
  self.is_at_end = true
  if self.conn.bufferedAmount > 0 then return end -- drained() calls again
  local seconds = self.values.wait or output.is_interactive and not self.values.execute and 0 or 1
  if seconds == 0 then return self:close() end
  if seconds == math.huge then return end
  -- A slow server may have most of it still to read. It answers this ping when it has.
  luws.wssend(self.conn, 9, LAST_PING)
  self.patience = seconds
  self:wait()
end

--- wait(): closes after a while; while the server still reads and answers, later.
function Talk:wait()
  if self.timer then self.timer:cancel() end
  self.is_silent = true
  self.timer = reactor.after(self.patience, function()
    if self.is_silent or self.has_read_all then return self:close() end
    self:wait()
  end)
end

function Talk:drained()
  if self.is_at_end then
    if not self.timer then self:finish() end
  elseif self.input then
    self.input:resume()
  end
end

-- What can be typed after a slash: what comes after the word is its argument.
local COMMANDS = {
  help = { "", "lists these commands" },
  ping = { "[TEXT]", "sends a ping" },
  pong = { "[TEXT]", "sends a pong" },
  binary = { "HEX", "sends a binary message, such as /binary 00 ff" },
  close = { "[CODE [REASON]]", "closes the connection" },
  quit = { "", "the same as /close 1000" },
}
local ORDER = { "help", "ping", "pong", "binary", "close", "quit" }

local does = {}

function does.help()
  for _, name in ipairs(ORDER) do
    output.say(("/%-24s %s"):format(name .. " " .. COMMANDS[name][1], COMMANDS[name][2]))
  end
  output.say "A line that is to begin with a slash is sent with two of them."
end

function does:ping(text)
  self.pinged = luws.gettime()
  self:send(9, text)
end

function does:pong(text) self:send(10, text) end

function does:binary(text)
  local digits = text:gsub("%s", "")
  if #digits % 2 == 1 or digits:find "%X" then return self:fail "/binary needs pairs of hexadecimal digits" end
  self:send(2, (digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)))
end

function does:close(text)
  local code, reason = text:match "^(%d*)%s*(.*)$"
  local number = code == "" and 1000 or tonumber(code)
  local is_known = number >= 1000 and number <= 1014 and MEANINGS[number] and number ~= 1005
  if not is_known and not (number >= 3000 and number <= 4999) then
    return self:fail("the code of /close is 1000 to 1003, 1007 to 1014, or 3000 to 4999")
  end
  if #reason > LONGEST_REASON then
    return self:fail(("the reason of /close has at most %d bytes, not %d"):format(LONGEST_REASON, #reason))
  end
  self:close(number, reason)
end

function does:quit() self:close() end

--- obey(line): does what a line with a slash asks for. Returns whether it was such a line, and the line to send if not.
function Talk:obey(line)
  if not (output.is_interactive or self.values.slash) then return false, line end
  local name, rest = line:match "^/(%a+)%s*(.*)$"
  if not name then return false, (line:gsub("^//", "/")) end
  if does[name] then
    does[name](self, rest)
  else
    self:fail(("there is no command /%s; /help lists them"):format(name))
  end
  return true
end

--- line(line): does what is to be done with a line of input.
function Talk:line(line)
  output.entered()
  if output.is_interactive and #line >= LONGEST_TYPED then
    self:fail(("not sent: the terminal has cut the line to %d bytes; longer ones can come from a file or a pipe")
      :format(#line))
  else
    local is_command, text = self:obey(line)
    if not is_command then self:send(self.values.binary and 2 or 1, text) end
  end
  if self:is_full() and self.input then self.input:pause() end
  if not self.is_ours then output.prompt() end
end

--- begin(): the connection is open.
function Talk:begin()
  local conn, values = self.conn, self.values
  self.is_open = true
  self:say("connected to " .. secrets.url(self.url)
    .. (conn.subprotocol and ", subprotocol " .. conn.subprotocol or ""), "green")
  if values.verbose then
    for _, line in ipairs(failure.headers(conn.response_headers)) do self:say(line) end
    local tls = conn.tls
    if tls then self:say(("  certificate of %s, SHA-256 %s"):format(tls.subject or "?", tls.fingerprint or "?")) end
  end
  if values.execute then
    for _, text in ipairs(values.execute) do
      if not self.is_ours then self:send(values.binary and 2 or 1, text) end
    end
    if not self.is_ours then self:finish() end
    return
  end
  self.input = input.start(function(line) self:line(line) end, function(why)
    output.leave_prompt()
    if why then self:fail("the input cannot be read: " .. why) end
    if not self.is_ours then self:finish() end
  end)
  output.prompt()
end

--- message(opcode, data): prints what has come.
function Talk:message(opcode, data)
  self.is_silent = false
  if opcode == false then
    self.why = data
  elseif opcode == 1 then
    output.text(self.values.json and pretty(data) or data)
  elseif not self.file then
    output.binary(data)
  else
    local ok, why = self.file:write(data)
    if ok then ok, why = self.file:flush() end
    if not ok then self:lose_file(why) end
    if output.is_interactive or self.values.verbose then
      self:say(("binary, %d bytes, to %s"):format(#data, self.values.output))
    end
  end
end

--- lose_file(why): binary messages cannot be kept any more.
function Talk:lose_file(why)
  self.file = nil
  output.fail(("%s cannot be written: %s"):format(self.values.output, why))
  self.status = STATUS.failed
  self:close()
end

--- control(opcode, data): tells of pings and pongs.
function Talk:control(opcode, data)
  local text = data ~= "" and ": " .. data or ""
  if opcode == 10 and data == LAST_PING and self.timer then
    self.has_read_all = true
    self:wait()
  elseif opcode == 10 and self.pinged then
    self:say(("pong after %.1f ms%s"):format((luws.gettime() - self.pinged) * 1000, text))
    self.pinged = nil
  elseif opcode ~= 8 and self.values.verbose then
    self:say((opcode == 9 and "ping" or "pong") .. text)
  end
end

--- ended(): says how the conversation has ended. Returns the exit status.
function Talk:ended()
  local conn = self.conn
  output.leave_prompt()
  if not self.is_open then
    if opening.signal_status() then return opening.signal_status() end
    local why = self.why or "unknown"
    output.fail(("cannot open %s: %s"):format(secrets.url(self.url), why))
    for _, line in ipairs(failure.lines(self.url, self.values, why, conn.response)) do output.say(line) end
    return opening.signal_status() or opening.status_of(why, conn.response)
  end
  if self.has_unsent and not output.is_interactive or conn.bufferedPayload > 0 then
    output.fail "not everything was sent"
    self.status = self.status or STATUS.failed
  end
  local code, is_lost = conn.close_code, self.why and self.why ~= "receiver error: closed" or conn.close_code == 1006
  if self.is_ours then
    self:say(code == 1006 and "closed; the server has not answered" or "closed")
    return self.status or opening.signal_status() or STATUS.ended
  end
  if is_lost then
    output.fail("lost: " .. (self.why == "receiver error: closed" and "no close frame came" or self.why))
    return STATUS.lost
  end
  local is_normal, text = code == 1000 or code == 1005, "closed by the server: " .. code_text(code, conn.close_reason)
  if is_normal then self:say(text) else output.fail(text) end
  return is_normal and (self.status or STATUS.ended) or STATUS.closed
end

--- run(values, word): talks. Returns the exit status.
function connect.run(values, word)
  local url = opening.url(word)
  local talk, is_over = setmetatable({ values = values, url = url }, Talk), false
  local options = opening.options(values)
  options.ping_interval = values.ping
  function options.open_handler() talk:begin() end
  function options.drain_handler() talk:drained() end
  function options.control_handler(_, ...) talk:control(...) end
  function options.close_handler() is_over = true end
  if values.output then
    local why
    talk.file, why = io.open(values.output, "wb")
    if not talk.file then
      output.fail("cannot write " .. why)
      return STATUS.failed
    end
  end
  opening.on_signal(function() talk:close(1001) end) -- it can come while OpenSSL reads its files
  local conn, wrong = opening.open(url, function(_, ...) talk:message(...) end, options)
  if not conn then return nil, wrong end
  talk.conn = conn
  if not opening.run(function() return is_over end) then return opening.signal_status() end
  if output.broken then return STATUS.failed end
  return talk:ended()
end

return connect
