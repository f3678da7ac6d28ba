---@meta luws.json

--[[
Annotations of JSON (docs/json.md), for lua-language-server and EmmyLua. Nothing here runs. spec/types_spec.lua compares
the names with the module.
--]]

---JSON texts as Lua values, and back.
---@class luws.json
---@field null lightuserdata null as a value
---@field array_mt table the metatable of arrays
---@field object_mt table the metatable of empty objects
local json = {}

---Returns the value of a JSON text; or nil, and what is wrong with it and where.
---@param text string UTF-8
---@return any value
---@return string? message
function json.decode(text) end

---Returns the JSON text of a value; or nil, and what of it is not JSON.
---@param value any
---@return string? text
---@return string? message
function json.encode(value) end

---Makes a table an array, even if it is empty.
---@param list? table a new one, if there is none
---@return table list
function json.array(list) end

return json
