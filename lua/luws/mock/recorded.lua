--[[
The option `record` of a server of luws.mock: what the peer of a recording has said.
--]]

local _, import = ...

--- script(given, url): returns what a recording, or the file of one, makes a server at this URL say.
return function(given, url)
  local recording, why = given, nil
  if type(given) == "string" then recording, why = import("record").public.load(given) end
  if recording == nil then error("listen: " .. why, 3) end
  if type(recording) ~= "table" or type(recording.script) ~= "function" then
    error(("listen: bad option 'record' (a file or a recording expected, got %s)"):format(type(given)), 3)
  end
  return recording:script(url)
end
