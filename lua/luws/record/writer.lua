--[[
Writes the files of recordings. What may become of a file while it is written (the disk is full, another recording wants
it) is dealt with here.
--]]

local _, import = ...
local guard, lines, reader = import("guard"), import("record/lines"), import("record/reader")

local writers = {}

local io = rawget(package.loaded._G or _G, "io") or {}
local os = rawget(package.loaded._G or _G, "os") or {}

-- How much is copied at a time, in bytes.
local BLOCK = 1024 * 1024

local Writer = {}
Writer.__index = Writer

-- Writers by their path, so that no two write into one file.
local in_use = setmetatable({}, { __mode = "v" })

--- write(line): writes a line. Returns true; or nil and why it is not in the file. After a failure nothing more is
-- written, for the line before may be cut.
function Writer:write(line)
  if self.failure then return nil, self.failure end
  local ok, why = self.handle:write(line)
  if ok and self.flushes then ok, why = self.handle:flush() end
  if ok then return true end
  self.failure = tostring(why)
  return nil, self.failure
end

-- Where LuaJIT has compiled a write that fails, it writes once more, and that may succeed: the failure is not seen.
local jit = rawget(package.loaded._G or _G, "jit")
if jit then jit.off(Writer.write) end

--- close(): writes what is left. Returns true; or nil and why not all of it is in the file.
function Writer:close()
  local handle = self.handle
  self.handle = nil
  if not handle then return not self.failure or nil, self.failure end
  if in_use[self.path] == self then in_use[self.path] = nil end
  local flushed, why = handle:flush()
  local closed, failure = handle:close()
  if not (flushed and closed) then self.failure = self.failure or tostring(why or failure) end
  if self.failure then return nil, self.failure end
  return true
end

--- Returns whether a recording that has not been closed writes into a file. One that nobody has any more does not.
local function is_in_use(path)
  if in_use[path] then guard.collect() end
  return in_use[path] ~= nil
end

local function open(path, mode, flushes)
  if not io.open then return nil, "files cannot be written here" end
  if is_in_use(path) then return nil, "another recording writes into it" end
  local handle, why = io.open(path, mode)
  if not handle then return nil, reader.reason(path, why) end
  local writer = setmetatable({ path = path, handle = handle, flushes = flushes, failure = nil }, Writer)
  in_use[path] = writer
  return writer
end

--- Returns a writer that has written this text; or nil and why not.
local function begin(text, ...)
  local writer, why = open(...)
  if not writer then return nil, why end
  local ok
  ok, why = writer:write(text)
  if ok then return writer end
  writer:close()
  return nil, why
end

--- create(path, head, flushes): returns a writer for a new file with this head; or nil and why not. `flushes`: each
-- line leaves at once.
function writers.create(path, head, flushes) return begin(lines.head_line(head), path, "wb", flushes) end

--- append(path, flushes, has_end): returns a writer that goes on with a file. `has_end`: its last line has its end.
function writers.append(path, flushes, has_end)
  return begin(has_end and "" or "\n", path, "ab", flushes)
end

--- Copies the first bytes of a file. Returns true; or nil and why not.
local function copy(from, to, size)
  local source, why = reader.open(from)
  if not source then return nil, why end
  local writer
  writer, why = open(to, "wb", false)
  local ok = writer ~= nil
  while ok and size > 0 do
    local block
    block, why = source:read(math.min(size, BLOCK))
    ok = block ~= nil
    if ok then ok, why = writer:write(block) end
    size = size - #(block or "")
  end
  source:close()
  if not writer then return nil, why end
  local closed, failure = writer:close()
  return ok and closed, why or failure
end

--- shorten(path, size): keeps the first bytes of a file. Whatever happens, there is either the old one or the new one.
-- Returns true; or nil and why not.
function writers.shorten(path, size)
  if is_in_use(path) then return nil, "another recording writes into it" end
  local beside = path .. ".new"
  local ok, why = copy(path, beside, size)
  if ok then ok, why = os.rename(beside, path) end
  if ok then return true end
  if os.remove then os.remove(beside) end
  return nil, tostring(why)
end

return writers
