-- How backends find the peer for a request: one for all, files, Lua functions.

local files = require "spec.support.files"
local world = require "spec.support.world"

--- Returns a request as luws.server has it: path, offered subprotocols, headers.
local function request(path, offered, headers)
  return { path = path, subprotocols = offered or {}, headers = headers or {} }
end

describe("a backend", function()
  local address, default, file, lua
  local folder

  setup(function()
    local w = world.new()
    address, default = w.import "bridge/address", w.import "bridge/backends/default"
    file, lua = w.import "bridge/backends/file", w.import "bridge/backends/lua"
    folder = files.unused()
    os.execute(("mkdir -p %s/base/folder && mkfifo %s/base/pipe"):format(folder, folder))
  end)

  teardown(function() os.execute("rm -r " .. folder) end)

  --- Returns what a backend says: the address, the framing and the subprotocol; or nil, the status and why.
  local function ask(backend, ...)
    local found, status, why = backend(request(...))
    if not found then return nil, status, why end
    return address.text(found.address), found.framing.name, found.subprotocol
  end

  describe("by default", function()
    it("has one peer for all, with the port that was given last", function()
      for _, case in ipairs {
        { {}, "tcp://localhost:5900" },
        { { host = "example" }, "tcp://example:5900" },
        { { host = "tcp://example:1" }, "tcp://example:1" },
        { { host = "tcp://example:1", peer_port = "2" }, "tcp://example:2" },
        { { peer_port = "2" }, "tcp://localhost:2" },
        { { host = "tcp://::1" }, "tcp://[::1]:5900" },
        { { host = "unix:///a", peer_port = "2" }, "unix:///a" },
      } do
        assert.equal(case[2], (ask(assert(default.make(case[1])), "/any")))
      end
      for _, case in ipairs {
        { { host = "http://h" }, "host", "unknown scheme 'http' (tcp, udp, tls, unix, unix-dgram)" },
        { { framing = "fixedlength" }, "framing" },
        { { framing = "no-such" }, "framing" },
      } do
        local made, option, wrong = default.make(case[1])
        assert.same({ nil, case[2] }, { made, option })
        assert.equal(case[3] or wrong, wrong)
      end
    end)

    it("selects the subprotocol that it is told to, in the client's spelling", function()
      for _, case in ipairs {
        { nil, { "a" }, nil }, { "b", { "a", "B" }, "B" }, { "b", { "a" }, nil }, { "b", {}, nil },
        { "*", { "x", "y" }, "x" }, { "*", {}, nil },
      } do
        local backend = assert(default.make { protocol = case[1] })
        assert.equal(case[3], (select(3, ask(backend, "/", case[2]))))
      end
    end)
  end)

  describe("with files", function()
    local function make(...) return assert(file.make { path = folder .. "/base/", expression = { ... } }) end

    it("finds them by what the request says", function()
      for _, case in ipairs {
        -- the template, the name of the file, the request
        { "a", "a", request "/" },
        { "%endpoint%", "vnc", request "/vnc" },
        { "%endpoint%", "vnc", request "/vnc/" },
        { "%endpoint%.cfg", "a_b_c.cfg", request "/a/b/c" },
        { "%endpoint%", ".._.._etc_passwd", request "/../../etc/passwd" },
        { "%endpoint%", "%2e%2e%2f", request "/%2e%2e%2f" }, -- nothing is decoded
        { "folder/%endpoint%", "folder/x", request "/x" },
        { "%cookie:id%", "7", request("/", nil, { cookie = "a=1; id=7; id=8" }) },
        { "%cookie:id%", "7=", request("/", nil, { cookie = "ID=1;id=7=" }) },
        { "%cookie:id%", '"7"', request("/", nil, { cookie = 'id="7"' }) },
        { "%cookie:id%", "_x", request("/", nil, { cookie = "id=/x" }) },
        { "%header:X-Peer%", "y", request("/", nil, { ["x-peer"] = "y" }) },
        { "%endpoint%-%cookie:a%-%header:B%", "e-%endpoint%-b",
          request("/e", nil, { cookie = "a=%endpoint%", b = "b" }) },
        { "100%-%x%", "100%-%x%", request "/" },
      } do
        local path = folder .. "/base/" .. case[2]
        files.write(path, "tcp://found:1 * binary")
        assert.same({ "tcp://found:1", "binary" }, { ask(make(case[1]), case[3].path, nil, case[3].headers) }, case[1])
        os.remove(path)
      end
    end)

    it("never leaves the folder, nor takes what is no name", function()
      files.write(folder .. "/secret", "tcp://secret:1")
      files.write(folder .. "/base/folder/secret", "tcp://secret:1")
      for _, case in ipairs {
        { "%endpoint%/secret", request "/.." },
        { "%endpoint%/secret", request "/../" },
        { "folder/%cookie:a%/secret", request("/", nil, { cookie = "a=." }) },
        { "%cookie:a%/secret", request("/", nil, { cookie = "a=.." }) },
        { "%header:a%/secret", request("/", nil, { a = ".." }) },
        { ".%header:a%/secret", request("/", nil, { a = "." }) },
        { "%header:a%./folder/secret", request("/", nil, { a = "" }) },
        { "%header:a%..%header:a%/secret", request("/", nil, { a = "" }) },
        { "folder/%cookie:a%", request("/", nil, { cookie = "a=secret\0x" }) },
        { "folder/%cookie:a%", request("/", nil, { cookie = "a=secret\127" }) },
        { "folder/%cookie:a%secret", request("/", nil, { cookie = "a=" }) },
        { "folder/%cookie:b%secret", request("/", nil, { cookie = "a=" }) },
        { "folder/%header:b%secret", request "/" },
        { "folder/%endpoint%secret", request "/" },
        { "%endpoint%", request "/folder" },
        { "%endpoint%", request "/pipe" }, -- to open one could take forever
        { "%endpoint%", request("/" .. ("x"):rep(5000)) },
      } do
        local found = { ask(make(case[1]), case[2].path, nil, case[2].headers) }
        assert.same({ nil, 404 }, { found[1], found[2] }, case[1])
        assert.matches("^no file has a peer for it", found[3])
      end
    end)

    it("takes the first line that fits what the client offers", function()
      local content = "\n# tcp://comment:1 *\ntcp://first:1  one\tbinary\r\n tcp://second:2 two newline lf \n"
        .. "tcp://broken * no-such\ntcp://third:3 Three separator a b\n"
      for _, case in ipairs {
        { {}, "tcp://first:1", "binary" },
        { { "x", "one" }, "tcp://first:1", "binary", "one" },
        { { "two", "one" }, "tcp://first:1", "binary", "one" },
        { { "two" }, "tcp://second:2", "newline", "two" },
      } do
        files.write(folder .. "/base/a", content)
        assert.same({ case[2], case[3], case[4] }, { ask(make "a", "/", case[1]) })
      end
      local path = folder .. "/base/a"
      local _, status, why = ask(make "a", "/", { "Three" })
      assert.equal(500, status)
      assert.equal(path .. ":5: the port is missing (an IPv6 address before it needs brackets)", why)
      files.write(path, content:gsub("[^\n]*broken[^\n]*\n", ""))
      local found = make "a"(request("/", { "x", "Three" }))
      assert.same({ "separator", "a b", "Three" }, { found.framing.name, found.framing.config, found.subprotocol })
      assert.same({ nil, 404, "no file has a peer for it: " .. path }, { ask(make "a", "/", { "THREE" }) })
      assert.same({ nil, 404, "no file has a peer for it" }, { ask(make "%endpoint%", "/") })
    end)

    it("goes on with the next file, and reads files for each request", function()
      local backend = make("%endpoint%", "all")
      files.write(folder .. "/base/all", "tcp://all:1")
      files.write(folder .. "/base/one", "")
      assert.same({ "tcp://all:1", "auto", "x" }, { ask(backend, "/one", { "x", "y" }) })
      files.write(folder .. "/base/one", "tcp://one:1 y")
      assert.same({ "tcp://one:1", "auto", "y" }, { ask(backend, "/one", { "x", "y" }) })
      assert.same({ "tcp://all:1", "auto", "x" }, { ask(backend, "/one", { "x" }) })
      assert.same({ "tcp://one:1", "auto" }, { ask(backend, "/one") })
      os.remove(folder .. "/base/all")
      local tried = ("%s/base/two, %s/base/all"):format(folder, folder)
      assert.same({ nil, 404, "no file has a peer for it: " .. tried }, { ask(backend, "/two") })
    end)

    it("refuses a request rather than to take another file, if one cannot be read", function()
      local loop = folder .. "/base/loop"
      os.execute(("ln -s %s %s"):format(loop, loop))
      files.write(folder .. "/base/all", "tcp://all:1")
      local found, status, why = ask(make("loop", "all"), "/")
      assert.same({ nil, 500 }, { found, status })
      assert.matches("/loop cannot be read: Too many levels of symbolic links$", why)
      files.write(folder .. "/base/large", ("\n"):rep(1024 * 1024 + 1))
      found, status, why = ask(make("large", "all"), "/")
      assert.same({ nil, 500, folder .. "/base/large cannot be read: it has more than 1048576 bytes" },
        { found, status, why })
    end)

    it("says at the start what is wrong with its options", function()
      for _, case in ipairs {
        { { expression = { "a" } }, "path", "it is missing: the backend 'file' needs a folder" },
        { { path = "/" }, "expression", "it is missing: the backend 'file' needs at least one" },
        { { path = "/", expression = { "a", "%cookie:x" } }, "expression",
          "the variable %cookie: does not end with another %" },
        { { path = "/", expression = { "%header:x" } }, "expression",
          "the variable %header: does not end with another %" },
      } do
        assert.same({ nil, case[2], case[3] }, { file.make(case[1]) })
      end
    end)
  end)

  describe("in Lua", function()
    it("returns the peer, or a status", function()
      local function framing() end
      for _, case in ipairs {
        { function() return { host = "tcp://h:1", framing = "binary", subprotocol = "a" } end,
          "tcp://h:1", "binary", "a" },
        { function(asked) return { host = asked.path:sub(2), port = 5 } end, "tcp://path:5", "auto" },
        { function() return { host = "unix:///a", framing = framing } end, "unix:///a" },
        { function() return nil end, nil, 404, "the backend has no peer for it" },
        { function() return nil, 403 end, nil, 403, "the backend has no peer for it" },
        { function() return false, 200 end, nil, 404, "the backend has no peer for it" },
        { function() return "tcp://h:1" end, nil, 500, "the backend's answer cannot be used: it returned a string" },
        { function() return {} end, nil, 500, "the backend's answer cannot be used: the field host is missing" },
        { function() return { host = "tcp://h:1", farming = "x" } end, nil, 500,
          "the backend's answer cannot be used: unknown field 'farming'" },
        { function() return { host = 5 } end, nil, 500,
          "the backend's answer cannot be used: the field host is a number" },
        { function() return { host = "tcp://h" } end, nil, 500,
          "the backend's answer cannot be used: the port is missing (an IPv6 address before it needs brackets)" },
      } do
        assert.same({ case[2], case[3], case[4] }, { ask(lua.of(case[1]), "/path") })
      end
      local found, status, why = ask(lua.of(function() error "no luck" end), "/")
      assert.same({ nil, 500 }, { found, status })
      assert.matches("^the backend raised an error: [^\n]*no luck\n", why)
    end)

    it("is a file that returns a function, and is given its options", function()
      local path = folder .. "/backend.lua"
      files.write(path, "local own = ...\nreturn function() return { host = own.host } end")
      assert.equal("tcp://a:1", (ask(assert(lua.make(path, { host = "a:1" })), "/")))
      for _, case in ipairs {
        { "return 5", path .. " returns a number, not a function" },
        { "return", path .. " returns a nil, not a function" },
        { "error('unknown option', 0)", "unknown option" },
        { "return return", path .. ":1: " },
        { nil, "cannot open " .. path },
      } do
        if case[1] then files.write(path, case[1]) else os.remove(path) end
        local made, option, why = lua.make(path, {})
        assert.same({ nil, "backend" }, { made, option })
        assert.truthy(why:find(case[2], 1, true), why)
      end
      assert.equal("", files.output("ls " .. path .. " 2>/dev/null"))
    end)
  end)
end)
