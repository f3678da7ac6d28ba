-- The examples of Socket.IO: a chat between pages of a browser, by npm's client for browsers, and a program in Lua.

local browser = require "spec.support.browser"
local child = require "spec.support.child"

local CLIENT = "build/interop/node_modules/socket.io-client/dist"

describe("examples/socketio_chat.lua", function()
  local chat, url

  before_each(function()
    chat = child.serve { "examples/socketio_chat.lua", "0", CLIENT }
    url = assert(chat.line:match "^(http://127%.0%.0%.1:%d+)/$", chat.line)
  end)

  after_each(function()
    browser.over()
    chat:stop "KILL"
  end)

  it("has pages talk to each other, and to examples/socketio_client.lua", function()
    local ada, grace = browser.open(url), browser.open(url)
    ada:type("#text", "Ada\n")
    ada:shows("#log", "Ada: is here, with 0 others")
    grace:type("#text", "Grace\n")
    grace:shows("#log", "Grace: is here, with 1 others")
    grace:type("#text", "“äöü” 😀\n")
    grace:shows("#log", "Grace: is here, with 1 others", "me: “äöü” 😀")
    ada:shows("#log", "Ada: is here, with 0 others", "Grace: is here, with 1 others", "Grace: “äöü” 😀")
    local output, status = child.run { "examples/socketio_client.lua", url, "Lua", "Hi!" }
    assert.equal([[
connected by polling
Lua: is here, with 2 others
said at 00:00
disconnected: io client disconnect
]], (output:gsub("%d%d:%d%d", "00:00")))
    assert.equal(0, status)
    grace:shows("#log", "Grace: is here, with 1 others", "me: “äöü” 😀", "Lua: is here, with 2 others", "Lua: Hi!",
      "Lua: has left")
    ada:close()
    grace:shows("#log", "Grace: is here, with 1 others", "me: “äöü” 😀", "Lua: is here, with 2 others", "Lua: Hi!",
      "Lua: has left", "Ada: has left")
    assert.same({ "", 0 }, { chat:stop() })
    assert.same({}, grace.complaints)
  end)

  it("refuses a client without a name", function()
    local output, status = child.run { "examples/socketio_client.lua", url, "" }
    assert.same({ "cannot connect: a name is needed\n", 1 }, { output, status })
  end)
end)
