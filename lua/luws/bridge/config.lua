--[[
The file of a bridge's options: reads its lines. Knows none of the options.

  # a comment
  [core]                    options of the bridge
  port = 8001
  [backend]                 options of the backend
  host = tcp://localhost:5900
--]]

local config = {}

-- The most bytes of a file.
local LARGEST = 1024 * 1024

-- The sections; they are recognised by how the line begins.
local SECTIONS = { { "[core]", "core" }, { "[backend]", "backend" } }

local BYTE_ORDER_MARK = "\239\187\191"

--- Returns the name of the section that a line begins, or nil and whether it looks like one.
local function section_of(line)
  for _, section in ipairs(SECTIONS) do
    if line:sub(1, #section[1]) == section[1] then return section[2] end
  end
  return nil, line:find "^%s*%[" ~= nil
end

--- content(path): returns what is in a file; or nil and why it cannot be read. The file is opened once, as it may be a
-- pipe.
function config.content(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, (why:gsub("^.*: ", "")) end
  local content
  content, why = file:read(LARGEST + 1)
  file:close()
  if not content and why then return nil, why end
  if content and #content > LARGEST then return nil, ("it has more than %d bytes"):format(LARGEST) end
  return content or "" -- an empty file has none
end

--- read(path, take): reads the file. For each option it calls take(section, name, text, where), where `where` is the
-- file and the line, and which returns what is wrong with it or nil. Returns an array of remarks; or nil and what is
-- wrong.
function config.read(path, take)
  local content, why = config.content(path)
  if not content then return nil, ("%s cannot be read: %s"):format(path, why) end
  if content:sub(1, #BYTE_ORDER_MARK) == BYTE_ORDER_MARK then content = content:sub(#BYTE_ORDER_MARK + 1) end
  local section, number, remarks = "core", 0, {}
  for line in content:gmatch "([^\n]*)\n?" do
    number = number + 1
    local where = ("%s:%d"):format(path, number)
    local begun, is_unknown = section_of(line)
    local name, text = line:match "^%s*(.-)%s*=%s*(.-)%s*$"
    if begun then
      section = begun
    elseif is_unknown then
      return nil, ("%s: unknown section (lines begin with [core] or [backend])"):format(where)
    elseif not line:find "^%s*[#;]" and line:find "%S" then
      if not name then
        remarks[#remarks + 1] = ("%s: there is no = in this line, so it is passed over"):format(where)
      else
        local wrong = take(section, name, text, where)
        if wrong then return nil, wrong end
      end
    end
  end
  return remarks
end

return config
