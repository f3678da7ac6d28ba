--[[
luws doctor: opens a connection step by step, and reports each step in a line, to find out what is wrong or to be pasted
into a report. Nothing secret is in it: no password, no query, no cookie.
--]]

local native, import = ...
local dialling, failure, luws = import("dialling"), import("command/failure"), import("luws")
local opening, output = import("command/opening"), import("command/output")
local kinds, reactor, secrets = import("kinds"), import("reactor").public, import("secrets")

local STATUS = opening.STATUS

local doctor = {
  summary = "finds out why a server cannot be reached",
  usage = "luws doctor [OPTION]... URL",
  argument = "the URL",
  description = "Reports each step to a connection and back. Passwords and the query of the URL are not shown.",
  options = {
    { "pings", value = "N", read = kinds.whole(0, 100), help = "how many pings are sent (3)" },
  },
  notes = "The exit statuses are those of luws connect; docs/command.md has them.",
}
for _, row in ipairs(opening.OPTIONS) do table.insert(doctor.options, row) end

-- Seconds for the look-up, and for each pong.
local PATIENCE = 15

--- report(step, is_good, ...): prints the line of a step. nil: neither good nor bad.
local function report(step, is_good, format, ...)
  local verdict = is_good == nil and "" or is_good and "ok      " or "FAILED  "
  local text = format:format(...):gsub("^ ", "")
  output.line(("%-12s%s%s"):format(step, verdict, text),
    is_good == nil and "grey" or is_good and "green" or "red")
end

local function ms(seconds) return seconds and (" (%.1f ms)"):format(seconds * 1000) or "" end

--- look_up(host, port): reports the addresses of a host. Returns them, or nil.
local function look_up(host, port)
  local began = luws.gettime()
  local dial = dialling.begin({}, host, port)
  dial.dial:hold()
  local addresses, why
  opening.run(function()
    addresses, why = dial:look_up()
    if addresses or why or opening.signal_status() or luws.gettime() - began > PATIENCE then return true end
    reactor.after(0.005, function() end)
    return false
  end)
  dial:close()
  report("lookup", addresses ~= nil, "%s: %s%s", host, addresses and table.concat(addresses, ", ") or why or "timeout",
    ms(luws.gettime() - began))
  return addresses
end

--- steps(conn, values, addresses): reports the steps that have been taken. `addresses` are the server's, as far as they
-- are known: of a connection that has failed nobody knows any more to which one it was.
local function steps(conn, values, addresses)
  local timings, tls = conn.timings or {}, conn.tls
  local address, port = #addresses == 1 and addresses[1] or nil, conn.port
  if conn.socket and conn.socket.getpeername then address, port = conn.socket:getpeername() end
  if timings.connect then
    report("connect", true, "%s%s", address and ("%s port %d"):format(address, port) or "", ms(timings.connect))
  end
  if timings.proxy then report("proxy", true, "%s", ms(timings.proxy)) end
  if timings.tls then
    report("tls", true, "%s%s", not tls and "" or ("%s, %s, the certificate is %sverified"):format(
      tls.version or "unknown version", tls.cipher or "unknown cipher", tls.verified and "" or "NOT "), ms(timings.tls))
  end
  if tls then
    report("certificate", nil, "of %s, by %s, until %s", tls.subject or "?", tls.issuer or "?",
      tls.not_after and os.date("!%Y-%m-%d", tls.not_after) or "?")
    report("", nil, "SHA-256 %s, key %s", tls.fingerprint or "?", tls.public_key or "?")
  end
  if not conn.response_headers then return end
  local headers = conn.response_headers
  report("upgrade", true, "101%s%s%s%s", headers.server and ", server " .. headers.server or "",
    conn.subprotocol and ", subprotocol " .. conn.subprotocol or values.subprotocol and ", no subprotocol" or "",
    headers["sec-websocket-extensions"] and ", " .. headers["sec-websocket-extensions"] or "", ms(timings.upgrade))
end

--- failed_step(why, response, timings): returns the name of the step that has failed, and the text without what says
-- the same.
local function failed_step(why, response, timings)
  local proxys = timings.connect and why:match "^Proxy failed: (.*)$"
  if proxys then return "proxy", proxys end
  local status = opening.status_of(why, response)
  if status == STATUS.refused then return "upgrade", (why:gsub("^upgrade failed; ", "")) end
  if status == STATUS.tls then return "tls", (why:gsub("^Failed SSL negotation: ", "")) end
  return "connect", why
end

--- ping(conn, talk, count): sends pings, one after the other, and reports how long the pongs take.
local function ping(conn, talk, count)
  local times = {}
  for i = 1, count do
    talk.pong = nil
    local payload, sent = "doctor " .. i, luws.gettime()
    luws.wssend(conn, 9, payload)
    local timer = reactor.after(PATIENCE / 3, function() talk.pong = false end)
    opening.run(function()
      return talk.pong == payload or talk.pong == false or talk.is_over or opening.signal_status()
    end)
    timer:cancel()
    if talk.pong ~= payload then break end
    times[#times + 1] = ("%.1f ms"):format((luws.gettime() - sent) * 1000)
  end
  if count == 0 then return true end
  local is_good = #times == count
  report("ping", is_good, "%d of %d answered%s", #times, count, #times > 0 and ": " .. table.concat(times, ", ") or "")
  return is_good
end

--- leave(conn, talk): closes the connection, and reports how that went.
local function leave(conn, talk)
  local began, was_lost = luws.gettime(), talk.is_over
  luws.wsclose(conn)
  opening.run(function() return talk.is_over end)
  local is_good = conn.was_clean and not was_lost
  report("close", is_good, "%s%s", was_lost and "the server has closed, code " .. tostring(conn.close_code)
    or conn.was_clean and "the server has answered" or "the server has not answered", ms(luws.gettime() - began))
  return is_good
end

--- run(values, word): examines. Returns the exit status; or nil and what is wrong.
function doctor.run(values, word)
  local url, options, talk = opening.url(word), opening.options(values), {}
  function options.control_handler(_, opcode, data)
    if opcode == 10 then talk.pong = data end
  end
  function options.close_handler() talk.is_over = true end
  opening.on_signal(function() end)
  -- A URL or an option that is wrong is found before anything is printed.
  local probe, wrong = opening.open(url, nil, opening.options(values))
  if not probe then return nil, wrong end
  luws.wsclose(probe)
  report("luws", nil, "%d, %s", luws._VERSION, output.interpreter)
  report("url", nil, "%s", secrets.url(url))
  local addresses = {}
  if options.proxy then
    report("proxy", nil, "%s", options.proxy == true and "what the environment names" or secrets.url(options.proxy))
  else
    local target = native.parse_url(url)
    local host = target.zone and target.host .. "%" .. target.zone or target.host
    addresses = look_up(host, target.port)
    if not addresses then return opening.signal_status() or STATUS.unconnected end
  end
  local conn, why, response, failed = opening.attempt(url, options)
  if not conn then
    if opening.signal_status() then return opening.signal_status() end
    if failed then steps(failed, values, addresses) end
    local step, text = failed_step(why, response, failed and failed.timings or {})
    report(step, false, "%s", text)
    for _, line in ipairs(failure.lines(url, values, why, response, true)) do output.line(line) end
    return opening.status_of(why, response)
  end
  steps(conn, values, addresses)
  local is_good = ping(conn, talk, values.pings or 3)
  is_good = leave(conn, talk) and is_good
  return opening.signal_status() or is_good and STATUS.ended or STATUS.lost
end

return doctor
