-- The option auth: what is sent at once, how a 401 is answered, and what is never sent. In memory, with a server that
-- plays what it is told; the hashes of Digest are computed by other programs.

local log = require "spec.support.log"
local luws = require "luws"
local player = require "spec.support.player"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"

local function ignore() end

local BASIC = "Basic bWU6c2VjcmV0" -- me:secret

--- Returns the hash of a text in hexadecimal digits, by a program of the system.
local function hash(program, text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  local pipe = io.popen(program .. " <" .. path)
  local digits = pipe:read "*a":match "^%x+"
  pipe:close()
  os.remove(path)
  return digits
end

local function refuses(...)
  local lines = { "HTTP/1.1 401 Unauthorized" }
  for _, challenge in ipairs { ... } do lines[#lines + 1] = "WWW-Authenticate: " .. challenge end
  return { { "upgrade", response = table.concat(lines, "\r\n") .. "\r\nContent-Length: 0\r\n\r\n" }, { "close" } }
end

local function accepts() return { { "upgrade" }, { "read_frame" }, { "send", "\136\2\3\232" }, { "close" } } end

local w, players

--- Makes a world whose server plays one of these after the other, and the last one for all that come then.
local function with_answers(...)
  local count = 0
  w, players = world.new(), {}
  for i, steps in ipairs { ... } do players[i] = player.new(w, steps) end
  function w.network()
    count = math.min(count + 1, #players)
    return players[count]
  end
end

--- Returns what Authorization was in each request, in order; "" for none.
local function sent()
  local values = {}
  for _, peer in ipairs(players) do
    for i = 1, #peer.connections do values[#values + 1] = peer:so_far(i).headers.authorization or "" end
  end
  return values
end

--- Returns the parameters of an answer for Digest.
local function parameters(value)
  local found = {}
  for name, quoted in assert(value:match "^Digest (.*)$"):gmatch '(%w+)="([^"]*)"' do found[name] = quoted end
  for name, plain in value:gmatch '(%w+)=([^",%s]+)' do found[name] = plain end
  return found
end

local function opens(options) return w.luws.wsopen("ws://a.test/b?c=d", ignore, options) end

describe("the option auth", function()
  local ME = { user = "me", password = "secret" }
  local BY_BASIC = { user = "me", password = "secret", scheme = "basic" }
  local BY_DIGEST = { user = "me", password = "secret", scheme = "digest" }

  it("sends a token at once", function()
    with_answers(accepts())
    assert(opens { auth = { bearer = "abc.def" } })
    assert.same({ "Bearer abc.def" }, sent())
  end)

  it("sends Basic at once over ws if that is asked for", function()
    with_answers(accepts())
    assert(opens { auth = BY_BASIC })
    assert.same({ BASIC }, sent())
  end)

  it("is used in place of the user and the password of the URL", function()
    with_answers(accepts())
    assert(w.luws.wsopen("ws://you:yours@a.test/", ignore, { auth = BY_BASIC }))
    assert.same({ BASIC }, sent())
  end)

  it("takes a password for empty that is not given", function()
    with_answers(accepts())
    assert(opens { auth = { user = "me", scheme = "basic" } })
    assert.same({ "Basic bWU6" }, sent())
  end)

  for _, case in ipairs {
    { "MD5", "md5sum", "" },
    { "MD5", "md5sum", ", algorithm=MD5" },
    { "SHA-256", "sha256sum", ", algorithm=SHA-256" },
    { "MD5-sess", "md5sum", ", algorithm=MD5-sess" },
  } do
    it("answers a challenge of Digest with " .. case[1] .. case[3], function()
      for _, options in ipairs { { auth = ME }, { auth = BY_DIGEST } } do
        with_answers(refuses('Digest realm="here", nonce="abc", qop="auth", opaque="xyz"' .. case[3]), accepts())
        assert(opens(options))
        local values = sent()
        assert.same({ 2, "" }, { #values, values[1] })
        local got = parameters(values[2])
        assert.same({ "me", "here", "abc", "/b?c=d", "auth", "00000001", "xyz" },
          { got.username, got.realm, got.nonce, got.uri, got.qop, got.nc, got.opaque })
        assert.truthy(got.cnonce:find "^%x+$" and #got.cnonce >= 16)
        local a1 = hash(case[2], "me:here:secret")
        if case[1]:find "sess" then a1 = hash(case[2], ("%s:abc:%s"):format(a1, got.cnonce)) end
        local a2 = hash(case[2], "GET:/b?c=d")
        assert.equal(hash(case[2], ("%s:abc:00000001:%s:auth:%s"):format(a1, got.cnonce, a2)), got.response)
      end
    end)
  end

  it("answers once more with a fresh nonce if the first one was stale", function()
    local fresh = refuses 'Digest realm="r", nonce="two", qop="auth", stale=TRUE'
    with_answers(refuses 'Digest realm="r", nonce="one", qop="auth"', fresh, accepts())
    assert(opens { auth = ME })
    local values = sent()
    assert.same({ 3, "one", "two" }, { #values, parameters(values[2]).nonce, parameters(values[3]).nonce })
    -- and no more often than that
    with_answers(refuses 'Digest realm="r", nonce="one", qop="auth"', fresh)
    assert.same("upgrade failed; HTTP/1.1 401 Unauthorized", (select(2, opens { auth = ME })))
    assert.equal(3, #sent())
  end)

  it("takes the best of what the server offers", function()
    with_answers(refuses('Basic realm="r"', 'Digest realm="r", nonce="m", Digest realm="r", nonce="s", '
      .. "algorithm=SHA-256", "Negotiate"), accepts())
    assert(opens { auth = ME })
    assert.equal("s", parameters(sent()[2]).nonce)
  end)

  it("takes a 401 for final that comes after an answer", function()
    for _, case in ipairs {
      { { bearer = "abc" }, "Bearer", 1 },
      { BY_BASIC, 'Basic realm="r"', 1 },
      { BY_BASIC, 'Digest realm="r", nonce="n"', 1 },
      { ME, 'Digest realm="r", nonce="n"', 2 },
    } do
      with_answers(refuses(case[2]))
      local conn, why, response = opens { auth = case[1] }
      assert.same({ false, "upgrade failed; HTTP/1.1 401 Unauthorized", 401 }, { conn, why, response.status })
      assert.equal(case[3], #sent())
    end
  end)

  it("says what the server takes, if it is nothing that it may be given", function()
    for _, case in ipairs {
      { ME, 'Basic realm="r"', "; it takes Basic, which over ws has to be asked for (see auth)" },
      { BY_DIGEST, 'Basic realm="r"', "; it takes Basic" },
      { ME, "Negotiate, NTLM", "; it takes Negotiate, NTLM" },
      { ME, 'Digest realm="r", nonce="n", algorithm=SHA-512', "; it takes Digest" },
      { ME, nil, "" },
    } do
      with_answers(refuses(case[2]))
      local _, why = opens { auth = case[1] }
      assert.equal("upgrade failed; HTTP/1.1 401 Unauthorized" .. case[3], why)
      assert.same({ "" }, sent())
    end
  end)

  it("does not send what it has to another server", function()
    local leads = { { "upgrade", response = "HTTP/1.1 302 Found\r\nLocation: ws://b.test/\r\n\r\n" }, { "close" } }
    for _, option in ipairs { { bearer = "abc" }, BY_BASIC, ME } do
      with_answers(leads, refuses 'Digest realm="r", nonce="n"')
      local _, why = opens { auth = option, redirects = 5 }
      assert.equal("upgrade failed; HTTP/1.1 401 Unauthorized (redirected to ws://b.test/)", why)
      local values = sent()
      assert.same({ 2, "" }, { #values, values[2] })
    end
  end)

  it("answers again after a redirect to the same server, for the new path", function()
    local challenge = refuses 'Digest realm="r", nonce="n"'
    local leads = { { "upgrade", response = "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n" }, { "close" } }
    with_answers(challenge, leads, challenge, accepts())
    assert(opens { auth = ME, redirects = 1 })
    local values = sent()
    assert.same({ "/b?c=d", "/x" }, { parameters(values[2]).uri, parameters(values[4]).uri })
    assert.same({ 4, "", "" }, { #values, values[1], values[3] })
  end)

  it("gives each attempt its own time, and ends at the deadline", function()
    local slow = refuses 'Digest realm="r", nonce="n"'
    table.insert(slow, 1, { "request" })
    table.insert(slow, 2, { "sleep", 4 })
    with_answers(slow, { { "request" }, { "hold" } })
    assert.equal("upgrade failed; timeout", (select(2, opens { auth = ME, upgrade_timeout = 5 })))
    assert.is_true(w.clock.now() >= 9 and w.clock.now() < 9.1, w.clock.now())
  end)

  it("works the same for a connection that nobody waits for", function()
    for _, wait in ipairs { "yield", "no" } do
      with_answers(refuses 'Digest realm="r", nonce="n"', accepts())
      local greeted, result = 0, nil
      coroutine.wrap(function()
        result = opens { auth = ME, wait = wait == "yield" and wait,
          open_handler = function() greeted = greeted + 1 end }
      end)()
      for _ = 1, 100 do w.reactor.step(0.01) end
      w.luws.wsreceive(result)
      assert.same({ true, 1, 2 }, { result.connected, greeted, #sent() })
    end
  end)

  it("has no password and no token in a message or the log", function()
    local reason = "HTTP/1.1 401 secret bWU6c2VjcmV0 ToKeN"
    local echo = { { "upgrade", response = reason .. "\r\nWWW-Authenticate: x-secret\r\n\r\n" }, { "close" } }
    local lead = { { "upgrade", response = "HTTP/1.1 302 Found\r\nLocation: /secret/ToKeN\r\n\r\n" }, { "close" } }
    for _, case in ipairs { { BY_BASIC, "secret" }, { ME, "secret" }, { { bearer = "ToKeN" }, "ToKeN" } } do
      with_answers(lead, echo)
      w.luws.debug_mode = true
      local why
      local lines = log.capture(function() why = select(2, opens { auth = case[1], redirects = 1 }) end)
      lines[#lines + 1] = why
      local text = table.concat(lines, "\n")
      assert.is_nil(text:find(case[2], 1, true), text)
      assert.truthy(why:find "^upgrade failed; HTTP/1.1 401 .*%(redirected to ws://a%.test/")
      with_answers(accepts())
      local conn = assert(opens { auth = case[1] , wait = false })
      assert.is_nil(w.luws.dump(conn):find(case[2], 1, true))
    end
  end)

  for _, case in ipairs {
    { "me:secret", "table expected, got string" },
    { {}, "user: missing" },
    { { password = "secret" }, "user: missing" },
    { { user = 5 }, "user: string expected, got number" },
    { { user = "me", pass = "secret" }, "pass: unknown" },
    { { user = "me", scheme = "ntlm" }, "scheme: 'basic' or 'digest' expected" },
    { { user = "me", bearer = "abc" }, "bearer: cannot be combined with the others" },
    { { bearer = "a b" }, "a token consists of letters, digits and -._~+/, with = at its end only" },
    { { bearer = "a\r\nX: y" }, "a token consists of letters, digits and -._~+/, with = at its end only" },
    { { user = "me\r\nX: y", password = "" }, "a user or a password cannot have control characters in it" },
    { { user = "me", password = "a\nb", scheme = "digest" },
      "a user or a password cannot have control characters in it" },
    { { user = "m:e", password = "" }, "a user cannot have a colon in it" },
  } do
    it("refuses what it cannot use: " .. case[2], function()
      with_answers(accepts())
      assert.same({ false, ("bad option 'auth' (%s)"):format(case[2]) }, { opens { auth = case[1] } })
    end)
  end

  it("refuses a header Authorization beside it", function()
    with_answers(accepts())
    assert.same({ false, "bad option 'auth' (cannot be combined with the header Authorization)" },
      { opens { auth = ME, upgrade_headers = { authorization = "Basic x" } } })
  end)

  it("takes a user with a colon for Digest", function()
    with_answers(refuses 'Digest realm="r", nonce="n"', accepts())
    assert(opens { auth = { user = "m:e", scheme = "digest" } })
    assert.equal("m:e", parameters(sent()[2]).username)
  end)
end)

describe("over a user's socket, the option auth", function()
  for _, tls in ipairs { false, true } do
    it("calls connect again for the answer" .. (tls and ", over wss" or ""), function()
      local steps = refuses 'Digest realm="r", nonce="n"'
      steps.tls = tls
      local peer, asked, connect = scripted.peer(steps), 0, sockets.connecting {}
      local function counting(...)
        asked = asked + 1
        return connect(...)
      end
      local _, why = luws.wsopen(peer.url, ignore,
        { auth = { user = "me", password = "secret", scheme = "digest" }, connect = counting, ssl_verify = "none" })
      assert.equal("upgrade failed; HTTP/1.1 401 Unauthorized", why)
      assert.same({ 2, 2 }, { asked, peer:connections() })
      assert.truthy(peer:result(2).headers.authorization:find '^Digest username="me"')
      peer:close()
    end)
  end
end)

describe("over wss, the option auth", function()
  local peer, conn

  after_each(function()
    luws.wsclose(conn)
    peer:close()
  end)

  local function open(steps, auth)
    steps.tls = true
    peer = scripted.peer(steps)
    local why
    conn, why = luws.wsopen(peer.url, ignore,
      { auth = auth, ssl_verify = "peer", ssl_cafile = servers.ca_file(), close_timeout = 0 })
    return conn, why
  end

  it("sends Basic at once, unless Digest is asked for", function()
    assert(open(accepts(), { user = "me", password = "secret" }))
    assert.equal(BASIC, peer:at(2).headers.authorization)
    luws.wsclose(conn)
    peer:close()
    assert(open(accepts(), { user = "me", password = "secret", scheme = "digest" }))
    assert.is_nil(peer:at(2).headers.authorization)
  end)

  it("answers a challenge of Digest all the same", function()
    local _, why = open(refuses 'Digest realm="r", nonce="n"', { user = "me", password = "secret" })
    assert.equal("upgrade failed; HTTP/1.1 401 Unauthorized", why)
    assert.same({ 2, BASIC }, { peer:connections(), peer:result(1).headers.authorization })
    assert.truthy(peer:result(2).headers.authorization:find '^Digest username="me"')
  end)
end)
