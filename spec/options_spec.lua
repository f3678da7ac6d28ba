-- The grammar of options: how their values are read and checked. What each option does is tested where it is used.

local log = require "spec.support.log"
local world = require "spec.support.world"

describe("the grammar of options", function()
  local options

  before_each(function() options = world.new().import "options" end)

  it("reads values, or says what is wrong with them", function()
    local callable = setmetatable({}, { __call = print })
    for _, case in ipairs {
      { options.of_type("string"), "x", "x" },
      { options.of_type("string"), 5, nil, "string expected, got number" },
      { options.of_type("boolean", "table"), false, false },
      { options.of_type("boolean", "table"), "x", nil, "boolean or table expected, got string" },
      { options.callable, callable, callable },
      { options.callable, {}, nil, "function expected, got table" },
      { options.at_least(0), 0.5, 0.5 },
      { options.at_least(0), math.huge, math.huge },
      { options.at_least(1), 0.5, nil, "a number of at least 1 expected, got 0.5" },
      { options.at_least(0), -1, nil, "a number of at least 0 expected, got -1" },
      { options.at_least(0), "1", nil, "number expected, got string" },
      { options.whole(1, 9), 9, 9 },
      { options.whole(1, 9), 10, nil, "whole number from 1 to 9 expected, got 10" },
      { options.whole(1, 9), 1.5, nil, "whole number from 1 to 9 expected, got 1.5" },
      { options.whole(0), 2 ^ 40, 2 ^ 40 },
      { options.whole(0), true, nil, "whole number from 0 up expected, got boolean" },
    } do
      local value, wrong = case[1](case[2])
      assert.same({ case[3], case[4] }, { value, wrong })
    end
    local _, wrong = options.at_least(0)(0 / 0)
    assert.matches("^a number of at least 0 expected, got %-?nan$", wrong)
  end)

  it("returns all options in one table, with defaults for those that are not given", function()
    options.register {
      { "spec_number", 7, options.at_least(0) },
      { "spec_flag", true, options.of_type("boolean") },
      { "spec_word", nil, options.of_type("string") },
    }
    local opening = options.opening { spec_flag = false, spec_word = "w" }
    assert.same({ 7, false, "w" }, { opening.spec_number, opening.spec_flag, opening.spec_word })
    -- Options may be inherited.
    opening = options.opening(setmetatable({}, { __index = { spec_number = 1 } }))
    assert.same({ 1, true }, { opening.spec_number, opening.spec_flag })
    assert.same({ nil, "bad option 'spec_number' (number expected, got string)" },
      { options.opening { spec_number = "x" } })
  end)

  it("questions names that resemble those of options, once, and no others", function()
    options.register { { "spec_timeout", nil, options.at_least(0) }, { "spec", nil, options.of_type("string") } }
    local logged = log.start()
    local given = { spec_timeuot = 1, spec_tmeout = 1, timeout = 1, my_own = 1, sp = 1, ssl_spec = 1, [1] = 1 }
    given.spec_timexxx = 1 -- three letters away, and nothing is nearer
    for _ = 1, 2 do assert.is_truthy(options.opening(given)) end
    options.opening(setmetatable({ spec_timeou = 1 }, { __index = {} }))
    log.stop()
    for i, line in ipairs(logged) do logged[i] = line[2] end
    table.sort(logged)
    assert.same({
      "luws: unknown option 'spec_timeou' (spec_timeout?)",
      "luws: unknown option 'spec_timeuot' (spec_timeout?)",
      "luws: unknown option 'spec_tmeout' (spec_timeout?)",
    }, logged)
  end)

  it("questions no more than a hundred names", function()
    options.register { { "spec_timeout", nil, options.at_least(0) } }
    local logged = log.start()
    for i = 1, 1000 do options.opening { [("own_%d"):format(i)] = 1 } end
    options.opening { spec_timeuot = 1 }
    log.stop()
    assert.same({}, logged)
  end)

  it("knows every name in a table that is itself an option", function()
    local rows = { { "a", 1, options.whole(0) }, { "b", nil, options.of_type("string") } }
    assert.same({ a = 1 }, options.complete("nest", rows, true))
    assert.same({ a = 2, b = "x" }, options.complete("nest", rows, { a = 2, b = "x" }))
    assert.same({ nil, "bad option 'nest' (a: whole number from 0 up expected, got string)" },
      { options.complete("nest", rows, { a = "2" }) })
    assert.same({ nil, "bad option 'nest' (c: unknown)" }, { options.complete("nest", rows, { c = 1 }) })
  end)

  it("falls back to the default if a program has since put an invalid value there", function()
    options.register { { "spec_time", 5, options.at_least(0) } }
    for _, case in ipairs { { 2, 2 }, { 0, 0 }, { -1, 5 }, { "2", 5 }, { false, 5 } } do
      assert.equal(case[2], options.number({ spec_time = case[1] }, "spec_time"))
    end
    assert.equal(5, options.number({}, "spec_time"))
    local conn = { options = "rubbish" }
    assert.same({}, options.of(conn))
    assert.equal(options.of(conn), conn.options)
  end)
end)
