-- A program's receive loop for specs: receives and waits until a condition is true, or until a deadline.
--
--   local poll = require "spec.support.poll"
--   poll(luws, conn, function() return messages[1] end)
--
-- It knows wsreceive and wswait, and nothing of what arrives.

local PATIENCE = 10 -- seconds, unless the spec says otherwise

--- Calls wsreceive and wswait until done() is true, `seconds` are over, or wsreceive says that no more will come.
-- Without `done`, receives until the connection ends. Returns what done() returned, or nil if that was false; then the
-- two results of the last wsreceive, if any.
local function poll(luws, conn, done, seconds)
  done = done or function() end
  local deadline = luws.gettime() + (seconds or PATIENCE)
  local value, more, bytes = done(), nil, nil
  while not value do
    local left = deadline - luws.gettime()
    if left <= 0 then break end
    more, bytes = luws.wsreceive(conn)
    value = done()
    if more == nil then break end
    if not value and not more then luws.wswait(conn, left) end
  end
  return value or nil, more, bytes
end

return poll
