-- luws.cookies and the option cookies: jars by themselves and their files, and what a connection sends of a jar and
-- keeps in it. tests/engine/cookies.rs has the rules of RFC 6265, one by one.

local cookies = require "luws.cookies"
local files = require "spec.support.files"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local world = require "spec.support.world"

local function ignore() end

local read = files.read

local output = files.output

describe("a jar", function()
  local jar

  before_each(function() jar = cookies.jar() end)

  it("keeps what a URL may set, and says what another URL gets", function()
    assert.same({ true }, { jar:set("wss://a.test/b/c", "one=1; Secure") })
    assert.is_true(jar:set("http://a.test/", "two=2"))
    assert.equal("one=1; two=2", jar:header "https://a.test/b/")
    assert.equal("two=2", jar:header "ws://a.test:81/b/")
    assert.is_nil(jar:header "wss://b.test/")
    assert.is_nil(cookies.jar():header "ws://a.test/")
  end)

  it("says why it does not keep a cookie", function()
    for _, case in ipairs {
      { "ws://a.test/", "nothing", "it has no name" },
      { "ws://a.test/", "a=" .. ("x"):rep(4096), "it is over 4096 bytes" },
      { "ws://a.test/", "a=b\r\nX: y", "it has a control character in it" },
      { "ws://a.test/", "a=b; Domain=b.test", "its domain is not one of the host's" },
      { "ws://a.test/", "a=b; Secure", "it is Secure, and ws is not" },
      { "wss://a.test/", "__Host-a=b", "it is not what the prefix of its name promises" },
      { "ftp://a.test/", "a=b", "the URL is not valid: it does not begin with ws:// or wss://" },
      { nil, "a=b", "bad argument #1 to 'set' (string expected, got nil)" },
      { "ws://a.test/", 5, "bad argument #2 to 'set' (string expected, got number)" },
    } do
      assert.same({ nil, case[3] }, { jar:set(case[1], case[2]) })
    end
    assert(jar:set("wss://a.test/", "a=b; Secure"))
    assert.same({ nil, "it would take the place of one that is Secure" }, { jar:set("ws://a.test/", "a=c") })
    assert.equal("# Netscape HTTP Cookie File\na.test\tFALSE\t/\tTRUE\t0\ta\tb\n", jar:encode())
  end)

  it("raises no errors", function()
    for _, name in ipairs { "set", "header", "decode", "save", "load" } do
      assert.same({ nil, ("bad argument #1 to '%s' (string expected, got nil)"):format(name) }, { jar[name](jar) })
      local result, why = jar[name]({}, "x", "y")
      assert.same({ nil, ("bad self for '%s' (jar expected, got table)"):format(name) }, { result, why })
    end
    assert.same({ nil, "bad self for 'encode' (jar expected, got nil)" }, { jar.encode() })
    assert.same({ nil, "not a jar" }, { jar.encode(setmetatable({}, getmetatable(jar))) })
    assert.same({ nil, "the URL is not valid: it has no host" }, { jar:header "ws:///" })
    assert.equal("luws-cookies", tostring(jar))
  end)

  it("is bounded, whatever is put into it", function()
    for i = 1, 200 do assert(jar:set("ws://a.test/", ("c%d=%s"):format(i, ("x"):rep(4000)))) end
    local names = {}
    for name in jar:header("ws://a.test/"):gmatch "(c%d+)=" do names[#names + 1] = name end
    assert.same({ 50, "c151", "c200" }, { #names, names[1], names[50] })
    for i = 1, 3100 do assert(jar:set(("ws://x%d.test/"):format(i), "a=1")) end
    local _, count = jar:encode():gsub("\n", "")
    assert.equal(3001, count)
    assert.is_nil(jar:header "ws://x100.test/")
    assert.equal("a=1", jar:header "ws://x101.test/")
  end)

  it("has the time of its world", function()
    local w = world.new()
    jar = w.import "cookies".public.jar()
    jar:set("ws://a.test/", "a=1; Max-Age=10")
    w.luws.sleep(9)
    assert.equal("a=1", jar:header "ws://a.test/")
    w.luws.sleep(1)
    assert.is_nil(jar:header "ws://a.test/")
  end)
end)

describe("a cookie file", function()
  local folder, path, jar

  before_each(function()
    folder = output("mktemp -d"):match "[^\n]+"
    path, jar = folder .. "/cookies.txt", cookies.jar()
  end)

  after_each(function() os.execute("rm -r " .. folder) end)

  it("has what the jar had, for its owner only", function()
    jar:set("wss://a.test/", "one=1; Secure; HttpOnly; Domain=a.test; Max-Age=1000")
    jar:set("ws://b.test/c/d", "two=2")
    for _ = 1, 2 do -- the second time it is there already
      assert.same({ true }, { jar:save(path) })
      assert.equal(jar:encode(), read(path))
      assert.equal("-rw-------", output("ls -l " .. path):match "^%S+")
      assert.equal("cookies.txt\n", output("ls " .. folder))
    end
    local copy = cookies.jar()
    copy:set("ws://c.test/", "three=3")
    assert.same({ true }, { copy:load(path) })
    assert.equal("one=1", copy:header "wss://x.a.test/")
    assert.equal("two=2", copy:header "ws://b.test/c/")
    assert.equal("three=3", copy:header "ws://c.test/")
    assert.is_true(cookies.jar():decode(read(path)))
  end)

  it("is written to where a link leads, and to what is not a file", function()
    jar:set("ws://a.test/", "a=1")
    os.execute(("touch %s; ln -s cookies.txt %s/link"):format(path, folder))
    assert(jar:save(folder .. "/link"))
    assert.equal(jar:encode(), read(path))
    assert.equal("l", output(("ls -l %s/link"):format(folder)):sub(1, 1))
    assert.is_true(jar:save "/dev/null")
  end)

  it("is named in errors, and is as before after them", function()
    local nowhere = folder .. "/nowhere/cookies.txt"
    assert.same({ nil, nowhere .. ": No such file or directory" }, { jar:save(nowhere) })
    assert.same({ nil, nowhere .. ": No such file or directory" }, { jar:load(nowhere) })
    assert.same({ nil, folder .. ": not a regular file" }, { jar:load(folder) })
    assert.same({ nil, folder .. ": Is a directory" }, { jar:save(folder) })
    files.write(path, "# Netscape HTTP Cookie File\na.test\tFALSE\t/\tFALSE\t0\ta\t1\nhello\n")
    assert.same({ nil, path .. ": line 3 is not that of a cookie" }, { jar:load(path) })
    assert.same({ nil, "line 1 is not that of a cookie" }, { jar:decode "hello" })
    assert.is_nil(jar:header "ws://a.test/")
  end)

  it("is read by curl, and curl's is read", function()
    if output "command -v curl" == "" then return pending "there is no curl" end
    jar:set("ws://127.0.0.1/", "one=1; HttpOnly")
    jar:set("ws://127.0.0.1/b/", "two=a b; Max-Age=1000")
    jar:set("ws://a.test/", "other=3")
    assert(jar:save(path))
    local peer = scripted.peer { { "request" },
      { "send", "HTTP/1.1 200 OK\r\nSet-Cookie: three=3; Path=/; HttpOnly\r\nSet-Cookie: one=new; Path=/\r\n"
        .. "Set-Cookie: four=4; Max-Age=1000\r\nContent-Length: 0\r\n\r\n" }, { "close" } }
    output(("curl -s -b %s -c %s %s"):format(path, path, peer.url:gsub("ws:", "http:") .. "b/c"))
    assert.equal("two=a b; one=1", peer:result().headers.cookie)
    peer:close()
    local curls = cookies.jar()
    assert(curls:load(path))
    assert.equal("three=3; one=new", curls:header "ws://127.0.0.1/")
    local all = {}
    for cookie in curls:header("ws://127.0.0.1/b/"):gmatch "[^;]+" do all[#all + 1] = cookie:match "^ ?(.*)" end
    table.sort(all)
    assert.same({ "four=4", "one=new", "three=3", "two=a b" }, all)
    assert.equal("other=3", curls:header "ws://a.test/")
  end)
end)

describe("a connection with a jar", function()
  local peers, jar, conn

  local function keep(script)
    peers[#peers + 1] = scripted.peer(script)
    return peers[#peers]
  end

  before_each(function() peers, jar, conn = {}, cookies.jar(), nil end)

  after_each(function()
    luws.wsclose(conn)
    for _, peer in ipairs(peers) do peer:close() end
  end)

  local function open(url, options)
    options = options or {}
    options.cookies, options.close_timeout, options.ssl_cafile = jar, 0, servers.ca_file()
    options.ssl_verify = "peer"
    local why
    conn, why = luws.wsopen(url, ignore, options)
    return conn, why
  end

  local SETS = { "Set-Cookie: a=1; Path=/", "set-cookie: b=2; Expires=Fri, 31 Dec 9999 23:59:59 GMT; Path=/",
    "Set-Cookie: c=3; Secure; Path=/", "Set-Cookie: other=4; Domain=b.test", "Set-Cookie: broken" }

  it("sends its cookies, in one header, and keeps all that the response sets", function()
    for _, tls in ipairs { false, true } do
      jar = cookies.jar()
      local peer = keep { tls = tls, { "upgrade", headers = SETS }, { "read_frame" }, { "close" } }
      assert(open(peer.url))
      luws.wsclose(conn)
      assert(open(peer.url .. "x"))
      luws.wsclose(conn)
      assert.is_nil(peer:result(1).headers.cookie)
      assert.equal("a=1; b=2" .. (tls and "; c=3" or ""), peer:result(2).headers.cookie)
      local _, count = peer:result(2).head:lower():gsub("\r\ncookie:", "")
      assert.equal(1, count)
    end
  end)

  it("keeps the cookies of a response that refuses, and of each redirect", function()
    local refusing = keep { { "upgrade", response = "HTTP/1.1 403 No\r\n" .. table.concat(SETS, "\r\n") .. "\r\n\r\n" },
      { "close" } }
    assert.is_false((open(refusing.url)))
    assert.equal("a=1; b=2", jar:header(refusing.url))
    local last = keep { { "upgrade", headers = { "Set-Cookie: last=6; Path=/" } }, { "read_frame" }, { "close" } }
    local first = keep { { "upgrade", response = "HTTP/1.1 302 Found\r\nSet-Cookie: a=5; Path=/\r\nLocation: "
      .. last.url .. "\r\n\r\n" }, { "close" } }
    assert(open(first.url, { redirects = 1 }))
    assert.equal("a=1; b=2", first:result().headers.cookie)
    assert.equal("a=5; b=2", last:at(2).headers.cookie)
    assert.equal("a=5; b=2; last=6", jar:header(first.url))
  end)

  it("keeps none of a response that is no answer to the upgrade", function()
    local peer = keep { { "upgrade", replace = { ["Sec-WebSocket-Accept"] = "wrong" }, headers = SETS } }
    assert.is_false((open(peer.url)))
    assert.is_nil(jar:header(peer.url))
  end)

  it("sends a Secure cookie over wss only, also after a redirect", function()
    local last = keep { { "upgrade" }, { "read_frame" }, { "close" } }
    local first = keep { tls = true, address = "127.0.0.1", { "upgrade", response =
      "HTTP/1.1 302 Found\r\nSet-Cookie: safe=1; Secure; Path=/\r\nSet-Cookie: open=2; Path=/\r\nLocation: "
      .. last.url .. "\r\n\r\n" }, { "close" } }
    assert(open(first.url, { redirects = 1, redirects_to_ws = true }))
    assert.equal("open=2", last:at(2).headers.cookie)
    assert.equal("safe=1; open=2", jar:header(first.url))
  end)

  it("sends the user's own cookies first, without those of the same names in the jar", function()
    local peer = keep { { "upgrade" }, { "read_frame" }, { "close" } }
    for _, cookie in ipairs { "a=1", "b=2", "ab=3", "x=4", "two words=5", "y=6" } do jar:set(peer.url, cookie) end
    assert(open(peer.url, { upgrade_headers = { cookie = "b=own; z=x=9;two words =8; alone" } }))
    assert.equal("b=own; z=x=9;two words =8; alone; a=1; ab=3; x=4; y=6", peer:at(2).headers.cookie)
  end)

  it("takes a flood of cookies", function()
    local lines = {}
    for i = 1, 1000 do lines[i] = ("Set-Cookie: c%d=%s"):format(i, ("x"):rep(30)) end
    local peer = keep { { "upgrade", headers = lines }, { "read_frame" }, { "close" } }
    assert(open(peer.url))
    local _, count = jar:encode():gsub("\n", "")
    assert.equal(51, count)
    luws.wsclose(conn)
    assert(open(peer.url))
    assert.truthy(peer:at(2, 2).headers.cookie:find("^c951=x+; .*; c1000=x+$"))
  end)

  it("shows nothing of them in a log", function()
    local peer = keep { { "upgrade" }, { "read_frame" }, { "close" } }
    jar:set(peer.url, "a=secret")
    assert(open(peer.url))
    assert.is_nil(luws.dump(conn):find "secret")
    assert.is_nil(luws.dump(jar):find "secret")
  end)

  it("works the same for a connection that nobody waits for", function()
    local peer = keep { { "upgrade", headers = SETS }, { "read_frame" }, { "close" } }
    jar:set(peer.url, "first=0")
    local is_open = false
    assert(open(peer.url, { wait = false, open_handler = function() is_open = true end }))
    while not is_open do require "luws.reactor".step(5) end
    assert.equal("first=0", peer:at(2).headers.cookie)
    assert.equal("first=0; a=1; b=2", jar:header(peer.url))
  end)

  it("does not take anything else for a jar", function()
    for _, case in ipairs { { "a=1", "string" }, { {}, "table" }, { true, "boolean" }, { ignore, "function" } } do
      assert.same({ false, "bad option 'cookies' (a jar of luws.cookies expected, got " .. case[2] .. ")" },
        { luws.wsopen("ws://127.0.0.1:1/", ignore, { cookies = case[1] }) })
    end
  end)

  it("is the same jar for every instance of the module", function()
    local peer = keep { { "upgrade", headers = SETS }, { "read_frame" }, { "close" } }
    local other = luws.instance "other"
    conn = assert(other.wsopen(peer.url, ignore, { cookies = jar, close_timeout = 0 }))
    assert.equal("a=1; b=2", jar:header(peer.url))
  end)
end)
