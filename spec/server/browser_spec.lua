-- Servers of luws and the pages of a browser: the example of a chat, and what a page's WebSocket can ask for.

local browser = require "spec.support.browser"
local child = require "spec.support.child"
local luws = require "luws"
local serving = require "spec.support.serving"

describe("examples/chat_server.lua", function()
  local chat, url

  before_each(function()
    chat = child.serve { "examples/chat_server.lua", "0" }
    url = assert(chat.line:match "^(http://127%.0%.0%.1:%d+)/$", chat.line)
  end)

  after_each(function()
    browser.over()
    child.over()
  end)

  it("has those talk to each other who have opened its page, each room for itself", function()
    local ada, grace, elsewhere = browser.open(url .. "/lab"), browser.open(url .. "/lab"), browser.open(url .. "/bar")
    assert.equal("Chat", ada:value "document.title")
    ada:type("#text", "Ada\n")
    ada:shows("#log", "Ada: is here, with 0 others")
    elsewhere:type("#text", "Alan\n")
    grace:type("#text", "Grace\n")
    grace:type("#text", "Hello — <b>“äöü”</b> 😀\n")
    ada:shows("#log", "Ada: is here, with 0 others", "Grace: is here, with 1 others", "Grace: Hello — <b>“äöü”</b> 😀")
    ada:type("#text", "Hi!\n")
    grace:shows("#log", "Grace: is here, with 1 others", "Grace: Hello — <b>“äöü”</b> 😀", "Ada: Hi!")
    grace:close()
    ada:shows("#log", "Ada: is here, with 0 others", "Grace: is here, with 1 others", "Grace: Hello — <b>“äöü”</b> 😀",
      "Ada: Hi!", "Grace: has left")
    elsewhere:shows("#log", "Alan: is here, with 0 others")
    assert.same({ "", 0 }, { chat:stop() })
    elsewhere:shows("#log", "Alan: is here, with 0 others", "(the server has closed: 1001)")
    assert.same({}, ada.complaints)
  end)
end)

describe("a page of a browser", function()
  after_each(function()
    browser.over()
    serving.over()
  end)

  -- What becomes of a WebSocket that a page opens with these arguments, and of what it sends.
  local SCRIPT = [[new Promise(done => {
    const seen = [], socket = new WebSocket(%s);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      seen.push(`open ${socket.protocol}; ${socket.extensions}`);
      if (socket.url.endsWith("/go")) return;
      for (const data of ["", "h\u00e4", "x".repeat(200000), new Uint8Array([0, 255])]) socket.send(data);
    };
    socket.onmessage = ({ data }) => {
      seen.push(typeof data == "string" ? data.slice(0, 2) + data.length : [...new Uint8Array(data)].join());
      if (seen.length == 5) socket.close(4001, "enough");
    };
    socket.onclose = event => done([...seen, `${event.code} ${event.reason} ${event.wasClean}`].join("\n"));
  })]]

  it("gets what it asks for, unless it is of another origin", function()
    local s, own
    s = serving.start {
      subprotocols = "b", deflate = { server_no_context_takeover = true },
      on_request = function(request)
        if request.path == "/page" then return { body = "<p>", headers = { ["Content-Type"] = "text/html" } } end
        if request.path ~= "/any" and request.origin ~= own then return { status = 403 } end
      end,
      on_open = function(conn)
        if conn.path == "/go" then luws.wsclose(conn, 4002, "go") end
      end,
      on_message = function(conn, opcode, data) luws.wssend(conn, opcode, data) end,
    }
    own = ("http://127.0.0.1:%d"):format(s.port)
    local deflated = "; permessage-deflate; server_no_context_takeover"
    local echoed = "\n0\nh\195\1642\nxx200000\n0,255\n4001  true"
    for _, case in ipairs {
      { "127.0.0.1", "'/echo'", "open " .. deflated .. echoed, { 4001, "enough" } },
      { "127.0.0.1", "'/echo', ['a', 'b']", "open b" .. deflated .. echoed, { 4001, "enough" } },
      { "127.0.0.1", "'/go'", "open " .. deflated .. "\n4002 go true", { 4002, "go" } },
      { "localhost", ("'ws://127.0.0.1:%d/echo'"):format(s.port), "1006  false" },
      { "localhost", ("'ws://127.0.0.1:%d/any'"):format(s.port), "open " .. deflated .. echoed },
    } do
      local tab = browser.open(("http://%s:%d/page"):format(case[1], s.port))
      assert.equal(case[3], tab:value(SCRIPT:format(case[2])))
      if case[4] then assert.same(case[4], s.events[#s.events]) end
      tab:close()
    end
  end)

  it("whose tab is closed says goodbye to the server", function()
    local s = serving.start { on_request = function(request)
      if request.path == "/page" then return { body = "" } end
    end }
    local tab = browser.open(("http://127.0.0.1:%d/page"):format(s.port))
    tab:value "{ globalThis.socket = new WebSocket('/'); 0 }"
    serving.till(function() return s.events[1] end)
    tab:close()
    serving.till(function() return s.events[2] end)
    assert.same({ "open", { 1001, "" } }, s.events)
  end)
end)
