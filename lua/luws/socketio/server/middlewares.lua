--[[
Functions that are asked one after another whether something may go on: a connection to a namespace, or an event. Each
is given what it is about and next, which it calls now or later: next() goes on, as next(false) does; next(err)
refuses.
--]]

local _, import = ...
local failure, guard, log = import("socketio/failure"), import("guard"), import("log")
local waiting = import("socketio/waiting")

local middlewares = {}

--- add(list, f): adds a function to a list of them.
function middlewares.add(list, f)
  if not guard.is_callable(f) then
    error(("bad argument #1 to 'use' (function expected, got %s)"):format(type(f)), 0)
  end
  list[#list + 1] = f
end

--- run(reactor, list, subject, finish): asks the functions of a list about a subject. Then calls, in a turn of the
-- reactor, finish(), or finish(err) with the error of the one that has refused. One that raises an error has refused.
function middlewares.run(reactor, list, subject, finish)
  if not list[1] then return finish() end
  local function finish_in_turn(err)
    waiting.in_turn(reactor, function() finish(err) end)
  end
  local functions = { guard.unpack(list) }
  local place, is_asking, is_next = 0, false, true

  local go_on

  local function ask(f)
    local is_called = false
    local function following(err)
      if is_called then return end
      is_called = true
      if err then return finish_in_turn(failure.of(err)) end
      is_next = true
      go_on()
    end
    local ok, why = guard.free(f, subject, following)
    if not ok then
      log.handler_failed("a middleware raised an error", why)
      following(failure.new "internal error")
    end
  end

  -- A loop, as functions that call next at once would nest otherwise.
  function go_on()
    if is_asking then return end
    is_asking = true
    while is_next do
      is_next, place = false, place + 1
      if not functions[place] then
        finish_in_turn()
        break
      end
      ask(functions[place])
    end
    is_asking = false
  end

  go_on()
end

return middlewares
