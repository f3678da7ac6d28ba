--[[
Responses: what a handler returns becomes a head and a body. The engine writes the head; this part knows what a program
may say, and what every response has.
--]]

local native, import = ...
local clock, files, settings = import("clock"), import("server/files"), import("server/options")

local responses = {}

local TEXT = "text/plain; charset=utf-8"

-- What on_request returns if the request is to be answered by request:accept or request:refuse. It is the same in all
-- worlds, for a program has it from the module of one of them.
responses.LATER = native.later or setmetatable({}, { __tostring = function() return "luws.server.later" end })
native.later = responses.LATER

-- The statuses of responses that end with their head (RFC 9110 section 6.4.1): a body would be read as the next one.
local BODILESS = { [204] = true, [304] = true }

-- The date that responses have, and its second.
local date, second = nil, nil

--- Returns the present date as HTTP has it.
local function now()
  local time = math.floor(clock.time())
  if time ~= second then date, second = native.date(time), time end
  return date
end

--- refusal(status, text): returns the response that refuses a request.
function responses.refusal(status, text)
  local response = { status = status, body = text .. "\n", is_refusal = true }
  if status == 426 then
    response.upgrade = { { "Upgrade", "websocket" }, { "Sec-WebSocket-Version", "13" } }
  elseif status == 503 then
    response.headers = { ["Retry-After"] = 5 }
  end
  return response
end

--- not_found(): returns the response for what there is not.
function responses.not_found() return responses.refusal(404, "not found") end

--- file(folder, path): returns the response that is a file below the folder; 404 if there is none, or it is outside.
function responses.file(folder, path) return files.response(folder, path) or responses.not_found() end

--- has(headers, name): returns whether an array of { name, value } has this header.
local function has(headers, name)
  for _, header in ipairs(headers) do
    if header[1]:lower() == name then return true end
  end
  return false
end

--- prepare(response): returns the status, the headers as an array of { name, value }, and the body of a handler's
-- response, which is a table with the fields status, headers and body; or nil and what is wrong with it.
function responses.prepare(response)
  if type(response) ~= "table" then return nil, "a response is a table, not a " .. type(response) end
  if response == responses.LATER then return nil, "only on_request can return server.later" end
  local status, body = response.status or 200, response.body
  if type(status) ~= "number" or status % 1 ~= 0 or status < 200 or status > 599 then
    return nil, "the status of a response is a whole number from 200 to 599"
  end
  if body == nil then body = "" end
  if type(body) == "number" then body = tostring(body) end
  if type(body) ~= "string" then return nil, "the body of a response is a string, not a " .. type(body) end
  local has_body = body ~= "" or files.is_file(response)
  if has_body and BODILESS[status] then return nil, ("a response of status %d has no body"):format(status) end
  local given = response.headers == nil and {} or response.headers
  if type(given) ~= "table" then return nil, "the headers of a response are a table" end
  local headers, wrong = settings.headers(given)
  if not headers then return nil, wrong end
  for _, header in ipairs(response.upgrade or {}) do headers[#headers + 1] = header end
  if has_body and not has(headers, "content-type") then headers[#headers + 1] = { "Content-Type", TEXT } end
  if not has(headers, "date") then headers[#headers + 1] = { "Date", now() } end
  return status, headers, body
end

return responses
