--[[
The end of a server: nobody is accepted any more, each connection gets what is queued for it and a close frame, answers
are awaited for a while, and the rest is aborted. And the loop that lasts until then.
--]]

local native, import = ...
local clock, close, guard, linger, log = import("clock"), import("close"), import("guard"), import("linger"),
  import("log")
local exchange, options, quick, reactor = import("server/exchange"), import("options"), import("quick"),
  import("reactor").public

local shutdown = {}

-- Options of close.
local close_rows = {
  { "code", 1001, options.whole(1000, 4999) },
  { "reason", "", options.of_type("string") },
  { "timeout", 5, options.at_least(0) }, -- seconds until the rest is aborted
}

-- Options of run.
local run_rows = {
  { "signals", false, options.of_type("boolean") }, -- whether INT and TERM close the server, and HUP reads certificates
  { "done", nil, options.callable }, -- done(): called after each step; true ends the run
}

--- Returns the keys of a table as an array, for what is done with them changes the table.
local function keys(of)
  local all = {}
  for key in pairs(of) do all[#all + 1] = key end
  return all
end

--- limit(state, deadline): a connection that is over lingers until this time at the latest.
local function limit(state, deadline)
  local lingering = state.lingering
  if lingering and lingering.deadline > deadline then lingering.deadline = deadline end
  if state.item then state.item:at(deadline) end
end

--- abort(owner): ends what is left.
local function abort(owner)
  local now = clock.now()
  for _, state in ipairs(keys(owner.alive)) do
    if state.phase ~= "closed" then close.finish(state, "closed", nil, true) end
    limit(state, now)
  end
end

--- begin(self, code, reason): ends everything in order.
local function begin(self, code, reason)
  local owner = self.owner
  owner.closing = true
  for _, listener in ipairs(self.listeners) do listener:close() end
  for _, state in ipairs(keys(owner.half_open)) do
    if state.phase == "connecting" then exchange.shut_down(state) end
  end
  for _, conn in ipairs(keys(owner.open)) do
    local state = quick.state_of(conn)
    if state.phase ~= "closed" then close.close(state, code, reason) end
  end
end

--- finish(self): ends everything at the end of the Lua state, in which no handler is called any more.
local function finish(self)
  begin(self, 1001, "")
  for _, state in ipairs(keys(self.owner.half_open)) do -- whose response is being sent
    if state.phase ~= "closed" then close.finish(state, "closed", nil, true) end
  end
  linger.close_all()
end

--- watch(self): sees to it that what is queued gets its time if the Lua state is closed before the server is. Must be
-- called for each connection: the guard has to be younger than its native objects, to be finalised before them.
function shutdown.watch(self)
  local newest = {}
  self.guarded_by = newest
  newest.guard = guard.finaliser(function()
    -- A server that is over is collected at any time, when others still linger.
    if self.guarded_by ~= newest or self:is_closed() or native.not_ours(self.process) then return end
    pcall(finish, self)
  end)
end

--- close(self, given): closes a server. Returns true; or nil and what is wrong with the options. Closing it again can
-- only make the time for it shorter.
function shutdown.close(self, given)
  local read, wrong = options.argument("close", close_rows, given)
  if not read then return nil, wrong end
  local owner, deadline = self.owner, clock.now() + read.timeout
  if not owner.closing then begin(self, read.code, read.reason) end
  for _, state in ipairs(keys(owner.alive)) do limit(state, deadline) end
  if not owner:is_gone() and not (owner.abort_at and owner.abort_at <= deadline) then
    if owner.abort then owner.abort:cancel() end
    owner.abort_at, owner.abort = deadline, reactor.after(read.timeout, function() abort(owner) end)
  end
  return true
end

--- heed(close_all, reload): has signals call close_all() (INT, TERM) and reload() (HUP). Returns a function that ends
-- that; or nil and why that cannot be.
local function heed(close_all, reload)
  local watches = {}
  local function watch(name, f)
    local ok, result = pcall(reactor.watch_signal, name, f)
    if ok then watches[#watches + 1] = result end
    return not ok and result or nil
  end
  local function ignore()
    for _, one in ipairs(watches) do one:cancel() end
  end
  local why = watch("INT", close_all) or watch("TERM", close_all) or watch("HUP", reload)
  if not why then return ignore end
  ignore()
  return nil, why
end

--- steps(is_over [, close_all, reload [, ready]]): steps until is_over() returns true. Meanwhile signals call
-- close_all() (INT, TERM) and reload() (HUP), if these are given; ready() is called once they do. Returns true; or nil
-- and why signals cannot be watched.
function shutdown.steps(is_over, close_all, reload, ready)
  local heedless, why
  if close_all then
    heedless, why = heed(close_all, reload)
    if not heedless then return nil, why end
  end
  local ok, err = pcall(function()
    if ready then ready() end
    while not is_over() do reactor.step() end
  end)
  if heedless then heedless() end
  if not ok then error(err, 0) end
  return true
end

--- run(self, given): steps until nothing is left of the server, or done() returns true. Returns true; or nil and what
-- is wrong with the options.
function shutdown.run(self, given)
  local read, wrong = options.argument("run", run_rows, given)
  if not read then return nil, wrong end
  local function is_over() return self:is_closed() or read.done and read.done() end
  if not read.signals then return shutdown.steps(is_over) end
  return shutdown.steps(is_over, function() shutdown.close(self) end, function()
    local ok, why = self:reload()
    if not ok then log.error("the certificates cannot be read again: %s", why) end
  end)
end

return shutdown
