-- What a process takes from the system, as Linux tells it: descriptors, threads, memory.

local measure = {}

--- status(name): returns a number of /proc/self/status, in KiB if it is memory; nil where the system has no such file.
function measure.status(name)
  local file = io.open "/proc/self/status"
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return tonumber((text:match("\n" .. name .. ":%s*(%d+)")))
end

--- resident(): returns the resident memory in bytes, after what nobody refers to is gone.
function measure.resident()
  for _ = 1, 3 do collectgarbage() end -- finalisers make work for the next one
  return measure.status "VmRSS" * 1024
end

function measure.threads() return measure.status "Threads" end

--- descriptors(): returns how many are open, of the first 4096.
function measure.descriptors()
  local count = 0
  for fd = 0, 4095 do
    local file = io.open("/proc/self/fdinfo/" .. fd)
    if file then
      file:close()
      count = count + 1
    end
  end
  return count
end

return measure
