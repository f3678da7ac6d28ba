-- LTN12 sources for specs, of chunks that need not be right. It knows LTN12 and nothing of who pulls.

--- A source of these chunks, one at each call, then of what follows them: nothing, or nil and an error.
local function source(chunks, ...)
  local i, last = 0, { ... }
  return function()
    i = i + 1
    if chunks[i] ~= nil then return chunks[i] end
    return unpack(last)
  end
end

return source
