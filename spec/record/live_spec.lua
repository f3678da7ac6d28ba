-- Branches that are replayed, and go on: with other rows, or live.

local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"
local support = require "spec.support.recorded"

local program, recorded, URL = support.program, support.conversation, support.URL

describe("a branch that is replayed", function()
  it("goes on with rows that are made up", function()
    local rec = recorded()
    local branch = rec:branch(5)
    branch:write { ["in"] = "message", conn = "a", text = "time", t = 100 }
    branch:write { out = "send", conn = "a", text = "time 100.000" }
    assert.same({ true, 7 }, { branch:replay { handlers = { a = program(branch) } } })
    local wrong = rec:branch(5)
    wrong:write { ["in"] = "message", conn = "a", text = "time", t = 101 }
    wrong:write { out = "send", conn = "a", text = "time 100.000" }
    local ok, text = wrong:replay { handlers = { a = program(wrong) } }
    assert.is_nil(ok)
    assert.equal('row ' .. wrong:row(wrong.store.count).row
      .. ': expected a out send "time 100.000", got a out send "time 101.000"', text)
  end)

  it("goes on live, with a mock or a real server in the place of the recorded one", function()
    local rec = recorded()
    local net = mock.net()
    local server = net:listen(URL)
    local branch = rec:branch(4)
    branch.now = function() return net:now() end
    local handlers = program(branch)
    local conn
    local own = handlers.open_handler
    function handlers.open_handler(given)
      conn = conn or given
      assert.equal(conn, given) -- it is the same for the handlers
      own(given)
    end
    assert.is_true(branch:replay { handlers = { a = handlers }, live = net:options() })
    net:run()
    local peer = server:accept()
    -- What the handler does at the last row is done live.
    peer:expect({ pattern = "^number %d+$" }, "hello nil", { pattern = "^number %d+$" }, "bye")
    peer:send "number"
    net:run()
    assert.is_true(luws.wssend(conn, 1, "bye"))
    assert.is_true(conn.connected)
    net:run()
    luws.wsclose(conn)
    net:settle()
    net:finish()
    assert.is_false(conn.connected)
    local kinds = {}
    for row in branch:rows { from = 5 } do kinds[#kinds + 1] = row.dir .. " " .. row.kind end
    assert.same({ "out open", "in open", "out send", "out send", "in message", "out send", "out send", "out close",
      "in close" }, kinds)
    assert.equal(rec:count() + 1, branch:row(branch.path:number_at(5)).row)
  end)

  it("says why it cannot go on live", function()
    local rec = recorded()
    local net = mock.net()
    local branch = rec:branch(4)
    assert.same({ nil, "'a' cannot go on live: Connection to hub.test:80 failed: connection refused" },
      { branch:replay { handlers = { a = program(branch) }, live = function(name, url)
        assert.same({ "a", URL }, { name, url })
        return net:options()
      end } })
  end)

  it("goes on in the order in which connections were opened, and has none if one of them fails", function()
    local rec = record.new()
    local names = { "z", "a", "m", "b" }
    for _, name in ipairs(names) do
      rec:write { out = "open", conn = name, url = "ws://user:pw@hub.test/" .. name .. "?token=x", outside = true }
      rec:write { ["in"] = "open", conn = name }
    end
    local net = mock.net()
    net:listen "ws://hub.test/"
    local branch = rec:branch(8)
    assert.is_true((branch:replay { live = net:options() }))
    local order = {}
    for row in branch:rows { dir = "out", kind = "open", from = 9 } do
      order[#order + 1] = row.conn .. " " .. row.url
    end
    assert.same({ "z ws://hub.test/z", "a ws://hub.test/a", "m ws://hub.test/m", "b ws://hub.test/b" }, order)
    local asked = {}
    local ok, why = rec:branch(8):replay { live = function(name)
      asked[#asked + 1] = name
      return name == "m" and { sink = print } or net:options()
    end }
    assert.same({ nil, "'m' cannot go on live: bad option 'sink' (messages that go to a sink cannot be recorded)" },
      { ok, why })
    assert.same({ "z", "a", "m" }, asked)
    for _, case in ipairs {
      { function() end, "its live options are a nil" },
      { { url = "x:y" }, "it does not begin with ws:// or wss://" },
    } do
      assert.same({ nil, "'z' cannot go on live: " .. case[2] }, { rec:branch(8):replay { live = case[1] } })
    end
    rec = record.new()
    rec:write { ["in"] = "open", conn = "a" }
    assert.same({ nil, "'a' cannot go on live: its URL was not recorded (live.url)" }, { rec:replay { live = {} } })
  end)

  it("does live what a handler does at the last row, with all that it may do", function()
    local net = mock.net()
    local server = net:listen(URL)
    local other = net:listen("ws://other.test/")
    local rec = record.new { clock = net }
    rec:write { out = "open", conn = "a", url = URL, outside = true }
    rec:write { ["in"] = "open", conn = "a" }
    rec:write { ["in"] = "message", conn = "a", text = "go" }
    rec:on("message", function(_, row) return { out = "send", conn = "a", text = "data " .. row.data } end)
    local function handler(conn, _, data)
      luws.wssend(conn, 1, "re " .. data .. " " .. rec:note "noted")
      rec:wsopen("b", "ws://other.test/", nil, net:options { wait = false })
    end
    assert.same({ true, 3 }, { rec:replay { handlers = { a = handler }, live = net:options() } })
    net:run()
    assert.same({ "re go noted", "data go" }, server:accept():received())
    assert.is_truthy(other:accept())
  end)
end)
