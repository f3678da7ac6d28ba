---@meta luws.reactor

--[[
Annotations of the reactor (docs/reactor.md), for lua-language-server and EmmyLua. Nothing here runs. Times are in
seconds and may be fractions. spec/types_spec.lua compares the names with the module.
--]]

---Drives connections, timers and descriptors without waiting for any of them.
---@class luws.reactor
local reactor = {}

---What after, watch_fd and watch_signal return.
---@class luws.Watch
local watch = {}

---The function is not called any more. May be called repeatedly.
function watch:cancel() end

---Waits until something happens, and deals with it.
---@param seconds? number the longest wait; without it, as long as it takes
---@return integer turns 0 if nothing has happened
function reactor.step(seconds) end

---Steps until stop() is called, the time is over, or nothing is left to drive.
---@param seconds? number
function reactor.run(seconds) end

---Ends the run that is going on.
function reactor.stop() end

---Drives a connection that was opened by a wsopen that waits.
---@param conn luws.Connection
---@return boolean ok
---@return string? message "not connected"
function reactor.add(conn) end

---Calls f once, after that time.
---@param seconds number
---@param f fun()
---@return luws.Watch
function reactor.after(seconds, f) end

---Calls f as long as the descriptor is ready.
---@param fd integer
---@param events "r"|"w"|"rw"
---@param f fun(fd: integer, events: "r"|"w"|"rw")
---@return luws.Watch
function reactor.watch_fd(fd, events, f) end

---Calls f when the signal comes, which does nothing else until then. It does not keep run from ending.
---@param name "INT"|"TERM"|"HUP"|"QUIT"|"PIPE"|"USR1"|"USR2"
---@param f fun(name: string)
---@return luws.Watch
function reactor.watch_signal(name, f) end

---Hangs the reactor into an event loop; without a name, into the one that is there.
---@param host? "openluup"|"cqueues"|"copas"|"luv"
---@return boolean ok
---@return string? message
function reactor.attach(host) end

---The descriptor that is readable when step(0) has something to do; -1 where there is none.
---@return integer
function reactor.getfd() end

---The same as getfd.
---@return integer
function reactor.pollfd() end

---Whether step(0) has something to do now.
---@return boolean
function reactor.dirty() end

---How many steps have begun, those of run included.
---@return integer
function reactor.steps() end

---After how many seconds step(0) has something to do at the latest; nil if no time is known.
---@return number?
function reactor.timeout() end

---What to watch the descriptor for.
---@return "r"
function reactor.events() end

return reactor
