---@meta luws.cookies

--[[
Annotations of jars of cookies (docs/opening.md), for lua-language-server and EmmyLua. Nothing here runs.
spec/types_spec.lua compares the names with the module.
--]]

---Makes jars of cookies.
---@class luws.cookies
local cookies = {}

---Returns an empty jar.
---@return luws.Jar
function cookies.jar() end

---Cookies of servers (RFC 6265). No method raises an error.
---@class luws.Jar
local jar = {}

---Keeps a cookie.
---@param url string where it has come from: ws, wss, http or https
---@param line string the value of the Set-Cookie header
---@return true|nil ok
---@return string? message why it is not kept
function jar:set(url, line) end

---The value of the Cookie header for a request.
---@param url string
---@return string? value nil if there are no cookies for it
---@return string? message
function jar:header(url) end

---The cookies as the text of a cookie file, in Netscape's format.
---@return string? text
---@return string? message
function jar:encode() end

---Adds the cookies of such a text; all, or none.
---@param text string
---@return true|nil ok
---@return string? message
function jar:decode(text) end

---Writes the cookies to a file that only its owner may read.
---@param path string
---@return true|nil ok
---@return string? message
function jar:save(path) end

---Adds the cookies of a file; all, or none.
---@param path string
---@return true|nil ok
---@return string? message
function jar:load(path) end

return cookies
