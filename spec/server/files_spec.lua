-- Files that a server answers with.

local child = require "spec.support.child"
local server = require "luws.server"
local serving = require "spec.support.serving"

local request, till = serving.request, serving.till

after_each(serving.over)

describe("server.file", function()
  local folder
  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    folder = folder .. "\255" -- which is not UTF-8
    os.execute(("mkdir -p '%s/sub'"):format(folder))
    os.execute(("ln -s /etc/passwd '%s/out'; ln -s large.bin '%s/sub/in'; ln -s ../index.html '%s/sub/in.html';"
      .. "ln -s .. '%s/up'; mkfifo '%s/fifo'"):gsub("%%s", folder))
    for name, text in pairs {
      ["index.html"] = "<p>hi", ["sub/a b.txt"] = "text", ["large.bin"] = ("0123456789"):rep(500000),
      ["empty.css"] = "",
    } do
      local file = assert(io.open(folder .. "/" .. name, "wb"))
      file:write(text)
      file:close()
    end
  end)
  teardown(function() os.execute(("rm -r '%s'"):format(folder)) end)

  it("answers with a file below a folder, or 404", function()
    local s = serving.start { on_request = function(asked) return server.file(folder, asked.path) end }
    for _, case in ipairs {
      { "/index.html", 200, "text/html; charset=utf-8", "<p>hi" },
      { "/sub/a%20b.txt", 200, "text/plain; charset=utf-8", "text" },
      { "/empty.css", 200, "text/css; charset=utf-8", "" },
      { "/sub/in.html", 200, "text/html; charset=utf-8", "<p>hi" }, -- a link that stays inside
      { "//index.html", 200, "text/html; charset=utf-8", "<p>hi" },
      { "http://h/index.html?x", 200, "text/html; charset=utf-8", "<p>hi" },
    } do
      local reply = s:raw(request("GET " .. case[1] .. " HTTP/1.1", "Connection: close"))
      local head, body = reply:match "^(.-\r\n)\r\n(.*)$"
      assert.same({ case[2], case[3], case[4], tostring(#case[4]) }, { tonumber(head:match " (%d+)"),
        head:match "Content%-Type: ([^\r]*)", body, head:match "Content%-Length: (%d+)" })
    end
    for _, target in ipairs {
      "/", "/sub", "/sub/", "/nothing", "/index.html/", "/index.html%00", "/index.html%00.css", "/%69ndex.html%2f",
      "/../../etc/passwd", "/sub/../index.html", "/%2e%2e/%2e%2e/etc/passwd", "/sub/%2e./index.html",
      "/..%2findex.html",
      "/etc/passwd", "//etc/passwd", "/%2fetc/passwd", "http://h//etc/passwd", "/out", "/up/index.html", "/fifo",
      "/%2569ndex.html", "/%", "/%zz", "/%ff", "/" .. ("a/"):rep(3000), "/" .. ("a"):rep(300),
    } do
      local reply = s:raw(request("GET " .. target .. " HTTP/1.1", "Connection: close"))
      assert.same({ 404, "not found\n" }, { serving.status(reply), reply:match "\r\n\r\n(.*)$" }, target)
    end
    local reply = s:raw(request("HEAD /index.html HTTP/1.1", "Connection: close"))
    assert.same({ "5", "" }, { reply:match "Content%-Length: (%d+)", reply:match "\r\n\r\n(.*)$" })
  end)

  it("reads a large file as it leaves, and goes on with the next request", function()
    local s = serving.start { on_request = function(asked) return server.file(folder, asked.path) end }
    local raw = s:dial()
    raw:send(request "GET /large.bin HTTP/1.1" .. request("GET /index.html HTTP/1.1", "Connection: close"))
    local all = serving.read(raw)
    local body = all:match "\r\n\r\n(.*)$"
    assert.equal("5000000", all:match "Content%-Length: (%d+)")
    assert.equal(("0123456789"):rep(500000), body:sub(1, 5000000))
    assert.is_truthy(body:sub(5000001):find "^HTTP/1.1 200 .*<p>hi$")
  end)

  it("answers 500 if no descriptor is left for the file, and says so in the log", function()
    local said = child.run { folder, descriptors = 40, input = [[
      local server, reactor, socket = require "luws.server", require "luws.reactor", require "socket"
      local srv = assert(server.listen {
        port = 0, on_request = function(request) return server.file(arg[1], request.path) end,
      })
      local raw, held = assert(socket.connect(srv:address())), {}
      raw:settimeout(0)
      while srv:stats().accepted == 0 do reactor.step() end
      local function status()
        raw:send "GET /index.html HTTP/1.1\r\nHost: h\r\n\r\n"
        local all = ""
        repeat
          reactor.step(0.01)
          local data, _, part = raw:receive "*a"
          all = all .. (data or part)
        until all:find "\r\n\r\n.+"
        return all:match "^HTTP/1.1 (%d+)"
      end
      for file in function() return io.open "/dev/null" end do held[#held + 1] = file end
      print(status())
      held = nil
      collectgarbage()
      print(status())
      os.exit(0)
    ]] }
    assert.is_truthy(said:find("luws: a file cannot be sent: .*/index.html: Too many open files"), said)
    assert.same({ "500", "200" }, { said:match "(500)\n200\n$", said:match "(%d+)\n$" })
  end)

  it("ends with the connection of a peer that goes away", function()
    local s = serving.start { on_request = function(asked) return server.file(folder, asked.path) end }
    local raw = s:dial()
    raw:send(request "GET /large.bin HTTP/1.1")
    till(function() return s.srv:stats().accepted == 1 end)
    serving.rest(0.02)
    raw:close()
    till(function() return not next(s.srv.owner.alive) end)
  end)
end)
