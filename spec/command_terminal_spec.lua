-- The command line as people use it, on a terminal: what they type, see and press.

local command = require "spec.support.command"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local serving = require "spec.support.serving"
local terminal = require "spec.support.terminal"

-- What is typed before it is there would stand in the way.
local PROMPT = "\n>"

describe("on a terminal,", function()
  local window, peer
  local echo = servers.url("demo", "ws", "/echo")

  --- start(words [, environment]): starts luws with these words of a command line.
  local function start(words, environment)
    window = terminal.start(command.line() .. " " .. words, "TERM=xterm NO_COLOR= " .. (environment or ""))
    return window
  end

  after_each(function()
    if window then window:close() end
    if peer then peer:close() end
    window, peer = nil, nil
  end)

  it("lines are sent, commands are obeyed, and Ctrl-D ends the conversation", function()
    local w = start("connect " .. echo)
    w:till(PROMPT)
    w:type "tex\27[1mt"
    w:till "< tex\\x1b[1mt"
    w:type "/nonsense"
    w:till "there is no command /nonsense; /help lists them"
    w:type "/binary 00 fF"
    w:till "< binary, size 2: 00 ff"
    w:type "/binary 0"
    w:till "/binary needs pairs of hexadecimal digits"
    w:type "/ping"
    w:till "pong after"
    w:type "/help"
    w:till "A line that is to begin with a slash is sent with two of them."
    w:type "//x"
    w:till "< /x"
    w:resize(60, 20)
    w:type "after the window has changed"
    w:till "< after the window has changed"
    w:key "C-d"
    assert.equal(0, w:status())
    assert.matches("\nclosed\n", w:screen())
  end)

  for _, case in ipairs {
    -- what is typed, the status, what the server is told, and the last words
    { "/close", 0, "closed by the server: 1000 (normal closure)" },
    { "/quit", 0, "closed by the server: 1000 (normal closure)" },
    { "/close 4001 bye", 0, "closed by the server: 4001: bye" },
  } do
    it(case[1] .. " closes the connection with its code", function()
      peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "send", scripted.frame {
        opcode = "close", payload = scripted.close_payload(1000, ""),
      } }, { "read_to_eof" } }
      local w = start("connect " .. peer.url)
      w:till(PROMPT)
      w:type(case[1])
      assert.equal(case[2], w:status())
      assert.matches("\nclosed\n", w:screen())
    end)
  end

  it("a line that the terminal has cut is not sent", function()
    local w = start("connect " .. echo)
    w:till(PROMPT)
    for _ = 1, 5 do w:tmux("send-keys", "-l", ("y"):rep(1000)) end
    w:key "Enter"
    w:till "not sent: the terminal has cut the line to 4095 bytes"
    w:type "after it"
    w:till "< after it"
  end)

  it("what a closing frame cannot have is said, and the connection stays", function()
    local w = start("connect " .. echo)
    w:till(PROMPT)
    w:type "/close 999"
    w:till "the code of /close is 1000 to 1003, 1007 to 1014, or 3000 to 4999"
    w:type("/close 4000 " .. ("x"):rep(124))
    w:till "the reason of /close has at most 123 bytes, not 124"
    w:type "still here"
    w:till "< still here"
  end)

  it("Ctrl-C closes the connection, and a second one ends the program at once", function()
    local w = start("connect " .. echo)
    w:till(PROMPT)
    w:key "C-c"
    assert.equal(130, w:status())
    assert.matches("\nclosed\n", w:screen())
    w:close()
    peer = scripted.peer { { "upgrade" }, { "wait" } }
    w = start("connect " .. peer.url)
    w:till(PROMPT)
    w:key "C-c"
    w:till "^C"
    w:key "C-c"
    assert.equal(130, w:status())
  end)

  it("a message that comes while somebody types does not mix with what was typed", function()
    peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "send", "\129\1m" }, { "read_frame" } }
    local w = start("connect --ping 0.5 " .. peer.url) -- the ping is the first frame
    w:till(PROMPT)
    w:tmux("send-keys", "-l", "a long line")
    w:till "> a long line"
    w:till "< m\n>"
    w:key "C-r"
    w:till "a long line"
  end)

  it("there are colours, but with NO_COLOR, and on terminals that are dumb", function()
    for environment, has_colours in pairs { [""] = true, ["NO_COLOR=1"] = false, ["TERM=dumb"] = false } do
      local w = start("connect " .. echo, environment)
      w:till(PROMPT)
      w:type "/nonsense"
      w:till "there is no command"
      local screen = w:screen(true)
      assert.equal(has_colours, screen:find("\27[32mconnected", 1, true) ~= nil, environment)
      assert.equal(has_colours, screen:find("\27[31mthere is", 1, true) ~= nil, environment)
      w:close()
    end
  end)

  it("luws listen says where it listens, and ends by Ctrl-C", function()
    local w = start "listen 0 --log"
    w:till "listening at ws://127.0.0.1:"
    w:key "C-c"
    assert.equal(130, w:status())
  end)

  it("luws listen --talk has a person talk to those who come", function()
    local w = start "listen 0 --talk --log"
    local port = w:till("listening at ws://127.0.0.1:"):match "listening at ws://127.0.0.1:(%d+)/"
    local heard
    local conn = assert(luws.wsopen("ws://127.0.0.1:" .. port, function(_, _, data) heard = data end))
    w:till "#1 open: 127.0.0.1 /"
    w:type "hello"
    serving.till(function()
      luws.wsreceive(conn)
      return heard
    end)
    luws.wssend(conn, 1, "you said " .. heard)
    w:till "< you said hello"
    w:key "C-d"
    assert.equal(0, w:status())
    luws.wsclose(conn)
  end)

  it("luws doctor shows what is good and what is not", function()
    local w = start("doctor " .. echo)
    assert.equal(0, w:status())
    assert.truthy(w:screen(true):find("\27[32mupgrade", 1, true))
    w:close()
    w = start("doctor " .. scripted.refused().url)
    assert.equal(3, w:status())
    assert.truthy(w:screen(true):find("\27[31mconnect", 1, true))
  end)
end)
