--[[
The options of a bridge as somebody writes them: one after the other, as text, on a command line or in a file. Each is
checked when it is written, so that what is wrong is said with its place.
--]]

local _, import = ...
local config, options, settings = import("bridge/config"), import("bridge/options"), import("bridge/settings")

local Draft = {}
Draft.__index = Draft

local CORE = {}
for _, row in ipairs(options.CORE) do CORE[row[1]] = row end

--- put(values, row, text): keeps the text of an option.
local function put(values, row, text)
  local key = options.key(row)
  if not row.many then
    values[key] = text
  else
    values[key] = values[key] or {}
    table.insert(values[key], text)
  end
end

--- add(self, rows, values, name, text, where): reads an option. Returns what is wrong with it, or nil.
local function add(self, rows, values, name, text, where)
  local row = rows[name]
  if not row then return ("%s: %s"):format(where, options.unknown(name, rows)) end
  local found, wrong = options.read(row, text, true)
  if found == nil then return ("%s: %s"):format(where, wrong) end
  put(values, row, text)
  self.places[options.key(row)] = where
end

--- set(name, text, where): notes an option of the bridge; `text` is true for a flag. `where` is what to call it in
-- messages. Returns what is wrong, or nil. With another backend, the options of the former one are gone.
function Draft:set(name, text, where)
  local wrong = add(self, CORE, self.core, name, text, where)
  if name == "backend" and not wrong then self.own = {} end
  return wrong
end

--- set_own(name, text, where): notes an option of the backend that was named last. Returns what is wrong, or nil.
function Draft:set_own(name, text, where)
  local rows = options.BACKENDS[self.core.backend or "defaultpeer"]
  if not rows then
    self.own[name] = text -- those of Lua files are theirs
    return nil
  end
  local own = {}
  for _, row in ipairs(rows) do own[row[1]] = row end
  return add(self, own, self.own, name, text, where)
end

--- read(path): notes the options in a file. Returns an array of remarks; or nil and what is wrong.
function Draft:read(path)
  return config.read(path, function(section, name, text, place)
    local set = section == "core" and self.set or self.set_own
    return set(self, name, text, ("%s: option '%s'"):format(place, name))
  end)
end

--- finish(): returns settings, or nil and what is wrong.
function Draft:finish()
  local read, name, wrong = settings.check(self.core, self.own, true)
  if read then return read end
  return nil, ("%s: %s"):format(self.places[name] or ("option '%s'"):format(name), wrong)
end

local draft = {}

--- new(): returns a draft without options.
function draft.new() return setmetatable({ core = {}, own = {}, places = {} }, Draft) end

return draft
