--[[
The backend `file`: what a request says is the name of a file, and the file has the peer. The options are a folder, and
templates of names below it; the first file with a line that fits is taken. Files are read for each request.

A line is PEER SUBPROTOCOL [FRAMING] [FRAMING-CONFIG], the last of which is all that is left of the line.

What clients say never leads out of the folder: it has no slash, and is not the name of a folder's parent.
--]]

local native, import = ...
local answer = import("bridge/backends/answer")

local backend = {}

-- The most bytes of a file.
local LARGEST = 1024 * 1024

-- The variables: functions of a request, and of the name after the colon. They return the value, or nil.
local variables = {}

function variables.endpoint(request)
  local value = request.path:gsub("^/", ""):gsub("/$", "")
  return value ~= "" and value or nil
end

function variables.header(request, name) return request.headers[name:lower()] end

function variables.cookie(request, wanted)
  for pair in (request.headers.cookie or ""):gmatch "[^;]+" do
    local name, value = pair:match "^%s*([^=]*)=(.*)$"
    if name == wanted then return value ~= "" and value or nil end
  end
end

--- Returns the variable that begins at a place of a template, as a function of a request, and the place after it; or
-- nil and what is wrong, or nil if it is an ordinary character.
local function variable(text, place)
  if text:sub(place, place + 9) == "%endpoint%" then return variables.endpoint, place + 10 end
  local kind, start = text:match("^%%(%a+):()", place)
  if kind ~= "cookie" and kind ~= "header" then return nil end
  local name, after = text:match("^([^%%]*)%%()", start)
  if not name then return nil, ("the variable %%%s: does not end with another %%"):format(kind) end
  return function(request) return variables[kind](request, name) end, after
end

--- parse(text): reads a template. Returns an array of its parts between slashes, each of which is an array of strings
-- and variables; or nil and what is wrong.
local function parse(text)
  local parts, place = { {} }, 1
  while place <= #text do
    local part = parts[#parts]
    local found, after = variable(text, place)
    if found then
      part[#part + 1], part.varies = found, true
      place = after
    elseif after then
      return nil, after
    else
      local c = text:sub(place, place)
      if c == "/" then parts[#parts + 1] = {} else part[#part + 1] = c end
      place = place + 1
    end
  end
  return parts
end

--- expand(parts, request): returns the name of a file; or nil if the request has nothing for one of its variables, or
-- something that cannot be in a name.
local function expand(parts, request)
  local names = {}
  for i, part in ipairs(parts) do
    local pieces = {}
    for j, piece in ipairs(part) do
      local value = piece
      if type(piece) == "function" then
        value = piece(request)
        if not value or value == "." or value == ".." or value:find "%c" then return nil end
        value = value:gsub("/", "_")
      end
      pieces[j] = value
    end
    local name = table.concat(pieces)
    if part.varies and (name == "." or name == "..") then return nil end
    names[i] = name
  end
  return table.concat(names, "/")
end

--- fields(line): returns the peer, the subprotocol, the framing and its config in a line; nothing if it has none.
local function fields(line)
  if line:find "^%s*#" then return nil end
  local peer, subprotocol, framing, config = line:match "^%s*(%S+)[ \t]*(%S*)[ \t]*(%S*)[ \t]*(.-)%s*$"
  if not peer then return nil end
  local function given(text) return text ~= "" and text or nil end
  return peer, given(subprotocol) or "*", given(framing), given(config)
end

--- fitting(offered, subprotocol): returns whether a line with this subprotocol fits what a client offers, and which one
-- is selected (nil: none).
local function fitting(offered, subprotocol)
  if not offered[1] then return true, nil end
  if subprotocol == "*" then return true, offered[1] end
  for _, name in ipairs(offered) do
    if name == subprotocol then return true, name end
  end
  return false
end

--- answer_in(content, path, request): returns what the first line that fits says; or nil, and the status and why if
-- that line cannot be understood.
local function answer_in(content, path, request)
  local number = 0
  for line in content:gmatch "([^\n]*)\n?" do
    number = number + 1
    local peer, subprotocol, framing, config = fields(line)
    if peer then
      local fits, name = fitting(request.subprotocols, subprotocol)
      if fits then
        local found, _, wrong = answer.make {
          host = peer, framing = framing, framing_config = config, subprotocol = name,
        }
        if found then return found end
        return nil, 500, ("%s:%d: %s"):format(path, number, wrong)
      end
    end
  end
end

--- make(own): returns the backend with these options; or nil, the name of an option, and what is wrong with it.
function backend.make(own)
  if not own.path then return nil, "path", "it is missing: the backend 'file' needs a folder" end
  if not own.expression then return nil, "expression", "it is missing: the backend 'file' needs at least one" end
  local folder, templates = own.path:gsub("(.)/$", "%1"), {}
  for i, text in ipairs(own.expression) do
    local wrong
    templates[i], wrong = parse(text)
    if not templates[i] then return nil, "expression", wrong end
  end
  return function(request)
    local tried = {}
    for _, parts in ipairs(templates) do
      local name = expand(parts, request)
      if name then
        local path = folder .. "/" .. name
        tried[#tried + 1] = path
        local content, why = native.read_file(path, LARGEST)
        -- The next template may be meant for other clients.
        if content == nil then return nil, 500, ("%s cannot be read: %s"):format(path, why) end
        if content then
          local found, status
          found, status, why = answer_in(content, path, request)
          if found or status then return found, status, why end
        end
      end
    end
    return nil, 404, "no file has a peer for it" .. (tried[1] and ": " .. table.concat(tried, ", ") or "")
  end
end

return backend
