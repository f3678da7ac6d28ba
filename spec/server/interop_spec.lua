-- Clients by other authors against a server of luws.

local luws = require "luws"
local serving = require "spec.support.serving"

after_each(serving.over)

local PYTHON = "build/interop/venv/bin/python"
local has_python = io.open(PYTHON) ~= nil

describe("Python's websockets, as a client,", function()
  for _, compression in ipairs { "plain", "deflate" } do
    local test = has_python and it or pending
    test("is understood: " .. compression, function()
      local s = serving.start {
        subprotocols = { "echo" }, deflate = { server_no_context_takeover = true }, max_payload_size = 2000000,
        on_open = function(conn)
          if conn.path == "/close" then luws.wsclose(conn, 4002, "go") end
        end,
        on_message = function(conn, opcode, data) luws.wssend(conn, opcode, data) end,
      }
      local path = os.tmpname()
      os.execute(("%s spec/interop/websockets_client.py ws://127.0.0.1:%d/ %s >%s 2>&1; echo end >>%s &")
        :gsub("^(.-) &$", "(%1) &"):format(PYTHON, s.port, compression, path, path))
      local said = serving.till(function()
        local file = assert(io.open(path))
        local text = file:read "*a"
        file:close()
        return text:match "^(.*)end\n$"
      end)
      os.remove(path)
      assert.equal(([[
subprotocol echo
extensions %s
messages
fragments
ping
closed 4001
server 4002 go
]]):format(compression == "deflate" and "['permessage-deflate']" or "[]"), said)
    end)
  end
end)
