--[[
The option `record` of a server of luws.mock: what the peer of a recording has said.
--]]

local _, import = ...

--- script(given, url, compares): returns what a recording, or the file of one, makes a server at this URL say.
return function(given, url, compares)
  local recording, why = given, nil
  if type(given) == "string" then recording, why = import("record").public.load(given) end
  if recording == nil then error("listen: " .. why, 4) end
  if type(recording) ~= "table" or type(recording.script) ~= "function" then
    error(("listen: bad option 'record' (a file or a recording expected, got %s)"):format(type(given)), 4)
  end
  return recording:script(url, compares)
end
