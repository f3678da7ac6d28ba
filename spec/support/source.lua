-- LTN12 sources for specs, with chunks that may be invalid. It knows LTN12, and nothing of who calls the sources.

local unpack = require "spec.support.compat".unpack

--- Returns a source that gives these chunks, one per call, then the other arguments: nothing, or nil and an error.
local function source(chunks, ...)
  local i, last = 0, { ... }
  return function()
    i = i + 1
    if chunks[i] ~= nil then return chunks[i] end
    return unpack(last)
  end
end

return source
