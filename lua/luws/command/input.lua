--[[
The lines of the standard input, whatever that is, as they come, while the reactor goes on. Lua's own io.read would
wait for a whole line, and keep in its buffer what no descriptor shows any more.
--]]

local native, import = ...
local reactor = import("reactor").public

local input = {}

-- Size in bytes of one read, and of the longest line.
local READ, LONGEST = 64 * 1024, 64 * 1024 * 1024

local Input = {}
Input.__index = Input

--- watch(): has the reactor call when there is something to read. A file cannot be watched: it always has something.
function Input:watch()
  local function ready() self:read() end
  local ok, watch = pcall(reactor.watch_fd, 0, "r", ready)
  self.is_watched = ok
  self.handle = ok and watch or reactor.after(0, ready)
end

function Input:unwatch()
  if self.handle then self.handle:cancel() end
  self.handle = nil
end

--- tell(): hands over the lines that have come, until it is paused. What is left is the beginning of a line.
function Input:tell()
  while not self.is_paused and not self.is_over do
    local place = self.chunk:find("\n", self.at, true)
    if not place then break end
    local pieces = self.pieces
    pieces[#pieces + 1] = self.chunk:sub(self.at, place - 1)
    self.at, self.pieces, self.size = place + 1, {}, 0
    self.on_line(table.concat(pieces))
  end
end

--- finish(why): hands over what has no end of a line, and says that nothing more will come.
function Input:finish(why)
  local rest = table.concat(self.pieces)
  self:stop()
  if rest ~= "" and not why then self.on_line(rest) end
  self.on_end(why)
end

--- read(): reads once.
function Input:read()
  if not self.is_watched then self.handle = reactor.after(0, function() self:read() end) end
  local data, why = native.input_read(READ)
  if not data and why == "timeout" then return end
  if not data or data == "" then return self:finish(why) end
  self.chunk, self.at = data, 1
  self:tell()
  if not self.is_paused then self:keep() end
end

--- keep(): keeps the beginning of a line until the rest comes.
function Input:keep()
  if self.is_over then return end
  local piece = self.chunk:sub(self.at)
  self.chunk, self.at = "", 1
  if piece == "" then return end
  self.pieces[#self.pieces + 1], self.size = piece, self.size + #piece
  if self.size > LONGEST then self:finish "a line of more than 64 MiB" end
end

--- pause(): hands over no line until resume() is called, and reads nothing.
function Input:pause()
  self.is_paused = true
  self:unwatch()
end

function Input:resume()
  if not self.is_paused or self.is_over then return end
  self.is_paused = false
  self:tell()
  if self.is_paused or self.is_over then return end
  self:keep()
  if not self.is_over then self:watch() end
end

--- stop(): calls nothing any more.
function Input:stop()
  self.is_over = true
  self:unwatch()
end

--- start(on_line, on_end): calls on_line(line) for each line, without its end, and then on_end(why), where `why` says
-- what went wrong, or is nil. Both may call the methods of what this returns.
function input.start(on_line, on_end)
  local made = setmetatable({
    on_line = on_line, on_end = on_end, pieces = {}, size = 0, chunk = "", at = 1, is_paused = false, is_over = false,
  }, Input)
  made:watch()
  return made
end

return input
