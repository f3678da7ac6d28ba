--[[
From a URL and options to an open state: the session, the route (a user's socket, SockProxy, or directly), and
the deadlines. Calls no handlers; what a connection is to the user is not known here.
--]]

local native, import = ...
local foreign, log, options, protect, pump, tls =
  import("foreign"), import("log"), import("options"), import("protect"), import("pump"), import("tls")

local open = {}

-- Of a refused upgrade's body, so many bytes are waited for, and for so many seconds at most.
local BODY, BODY_TIME = 4096, 0.5

--- parse(url): where to, as a table; or nil and what is wrong with the URL.
function open.parse(url)
  if type(url) ~= "string" then return nil, ": a string expected, got " .. type(url) end
  local target, why = native.parse_url(url)
  if target then return target end
  -- What may hold a password has no business in a log.
  return nil, url:find("@", 1, true) and ": " .. why or (" %s: %s"):format(url, why)
end

--- The user's socket, or one that is dialled: a wire, and the object for conn.socket; or nil and why not. `settings` is
-- the user's own table.
local function connect(host, port, checked, settings, deadline, session)
  if checked.connect then
    local socket, why = checked.connect(host, port, settings)
    if not socket then
      return nil, why and (protect.text(why) or type(why))
        or ("Connection to %s:%d failed: connect returned no socket"):format(host, port)
    end
    local wrong = foreign.check(socket)
    if wrong then return nil, ("bad option 'connect' (%s)"):format(wrong) end
    return foreign.wire(socket), socket
  end
  local socket, why = pump.dial(host, port, deadline - native.monotonic())
  if not socket then return nil, ("Connection to %s:%d failed: %s"):format(host, port, why) end
  session:attach(socket)
  return pump.native_wire(socket), socket
end

--- parameters(target, checked, settings): what a session is made of; or nil and what is wrong with the options.
local function parameters(target, checked, settings)
  local headers, subprotocols, host = options.headers(checked, target)
  if not headers then return nil, subprotocols end
  local deflate, why = options.deflate(checked)
  if deflate == false then return nil, why end
  local luasec
  luasec, why = tls.read(settings)
  if not luasec then return nil, why end
  return {
    host = target.host,
    host_header = host,
    resource = target.resource,
    headers = headers,
    subprotocols = subprotocols,
    secure = target.secure,
    tls = luasec,
    max_payload_size = checked.max_payload_size,
    use_masking = checked.use_masking,
    fragment_size = checked.fragment_size,
    deflate = deflate,
  }
end

--- What a server that refused the upgrade has said, or nil if it was none.
local function refusal(state, checked)
  local _, headers, status, reason = state.session:response()
  if status == 0 then return nil end
  local body = pump.body(state, options.chunk_size(checked), BODY, math.min(BODY_TIME, checked.upgrade_timeout))
  return { status = status, reason = reason, headers = headers, body = body }
end

local PREFIX = { proxy = "SockProxy failed: ", tls = "Failed SSL negotation: ", upgrade = "upgrade failed; " }

--- establish(target, checked, settings, given, proxy): one attempt. Returns the state; or nil, why not, the response
-- that refused it if there was one, and whether the fault is the route's.
local function establish(target, checked, settings, given, proxy)
  given.sockproxy = proxy
  local session, why, step = native.session(given)
  if not session then return nil, step and PREFIX[step] .. why or why, nil, step == "proxy" end
  local deadline = native.monotonic() + (proxy and proxy.timeout or checked.connect_timeout)
  local wire, socket = connect(proxy and proxy.host or target.host, proxy and proxy.port or target.port, checked,
    settings, deadline, session)
  if not wire then
    session:free()
    return nil, proxy and PREFIX.proxy .. socket or socket, nil, proxy ~= nil
  end
  -- How long the user's own function takes is the user's affair.
  if checked.connect then deadline = native.monotonic() + checked.connect_timeout end
  -- A connection as the parts see it. Behind the end, session and wire are nil, and `over` says why.
  local state = {
    session = session, -- the native session: bytes in, events out
    wire = wire, -- what the bytes go through (pump)
    socket = socket, -- the user's, or ours: conn.socket
    proxied = proxy ~= nil,
    buffered = 0, -- bytes that were read while something was sent, for the next wsreceive to count and deliver
    ended = nil, -- why no more bytes will come, once that is known
    injected = false, -- the last bytes came by wshandleincoming
    frames = 0, -- complete ones, when last looked
    heard = native.monotonic(), -- when the last of them came
    size = nil, -- max_payload_size and whether there is a sink, as the session was last told (dispatch)
    announce = nil,
    announced = 0, -- messages that the user was asked about (sink)
    sink = nil, -- of the message that is coming (sink)
    tracing = false, -- whether the session keeps the frames' headers (trace)
    closing = false, -- we have sent a close frame
    unwatch = nil, -- ends luws.watch (loop)
    over = nil, -- what wsreceive says from now on (close)
    lingering = nil, -- session and wire of a connection that is over and whose peer is still reading (close)
  }
  -- Younger than the native objects, so that what is older than all of them and is finalised last finds a connection
  -- that is over.
  state.guard = native.finaliser(function()
    state.session, state.wire, state.lingering = nil, nil, nil
    state.over = state.over or "not connected"
  end)
  local ok
  ok, step, why = pump.open(state, options.chunk_size(checked), deadline, checked.connect_timeout,
    checked.upgrade_timeout)
  if ok then
    state.buffered, state.heard = session:incoming(), native.monotonic()
    return state
  end
  local response = refusal(state, checked)
  wire.close()
  session:free()
  return nil, PREFIX[step] .. why, response, step == "proxy"
end

--- open(target, settings): a state whose upgrade is complete, or nil, why not, and what a refusing server said.
function open.open(target, settings)
  local checked, why = options.checked(settings)
  if not checked then return nil, why end
  local given
  given, why = parameters(target, checked, settings)
  if not given then return nil, why end
  local proxy
  proxy, why = options.sockproxy(checked, target)
  if proxy == false then return nil, why end
  if proxy then
    local state, problem, response, is_routes = establish(target, checked, settings, given, proxy)
    if state or not is_routes or proxy.required then return state, problem, response end
    log.warning("%s; connecting to %s:%d without it", problem, target.host, target.port)
  end
  return establish(target, checked, settings, given, nil)
end

return open
