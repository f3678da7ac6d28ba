--[[
Responses that are files: which one is meant is found out when the program asks for it, and again when it is sent, for
a program may keep the response. A file is read as it leaves.
--]]

local native = ...

local files = {}

-- The metatable of these responses. It is the same in all worlds, for a program has the module of one of them.
local File = native.file_response or {}
native.file_response = File

-- How much is read at a time, in bytes.
local PIECE = 65536

--- response(folder, path): returns the response that is a file below the folder; nil if there is none, or it is
-- outside.
function files.response(folder, path)
  folder, path = tostring(folder), tostring(path)
  local where, _, media_type = native.find_file(folder, path)
  if not where then return nil end
  return setmetatable({ headers = { ["Content-Type"] = media_type }, folder = folder, path = path }, File)
end

--- is_file(response): returns whether a response is one of these.
function files.is_file(response) return getmetatable(response) == File end

local Reading = {}
Reading.__index = Reading

--- open(response): opens the file of a response. Returns an object that reads it, and its length in bytes; nil if it is
-- no longer there, or nil and why it cannot be opened.
function files.open(response)
  local where, length = native.find_file(response.folder, response.path)
  if not where then return nil end
  local handle, why = io.open(where, "rb")
  if not handle then return nil, why end
  return setmetatable({ handle = handle, left = length }, Reading), length
end

--- read(): returns the next bytes; nil at the end. Then `left` is how many are missing, for it has become shorter.
function Reading:read()
  local piece = self.left > 0 and self.handle:read(math.min(PIECE, self.left)) or nil
  if piece then self.left = self.left - #piece end
  return piece
end

function Reading:close() self.handle:close() end

return files
