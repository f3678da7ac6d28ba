--[[
luws bridge: websocksy's command line. Everything else is the bridge's own (bridge/draft, bridge).
--]]

local _, import = ...
local arguments, bridge, drafts, options = import("command/arguments"), import("bridge").public,
  import("bridge/draft"), import("bridge/options")
local output = import("command/output")

-- -c: an option of the backend.
local OWN = { "backend-option", short = "c", value = "OPTION=VALUE", help = "an option of the backend; repeatable" }

--- own_pages(): returns the options of the backends as lines of a help text.
local function own_pages()
  local pages = {}
  for _, name in ipairs { "defaultpeer", "file" } do
    local function written(row) return ("  -c %s=%s"):format(row[1], row.value) end
    local page = arguments.page(options.BACKENDS[name], written)
    pages[#pages + 1] = ("Options of the backend %s:\n\n%s"):format(name, page)
  end
  return table.concat(pages, "\n\n")
end

local command = {
  summary = "connects WebSocket clients with servers of TCP, TLS, UDP and unix domain sockets",
  usage = "luws bridge [OPTION]... | luws bridge FILE",
  description = "Takes WebSocket connections, and connects each with a peer. Without options: with a VNC server here.",
  options = { OWN },
  notes = own_pages() .. "\n\nA FILE has the same options, without dashes. docs/bridge.md says more.",
  misused = 1, -- as websocksy
}
-- By their rows: the options of the bridge.
local CORE = {}
for i, row in ipairs(options.CORE) do
  table.insert(command.options, i, row)
  CORE[row] = true
end

--- note(draft, row, text, shown): notes an option. Returns what is wrong, or nil.
local function note(draft, row, text, shown)
  if row ~= OWN then return draft:set(row[1], text, ("option '%s'"):format(shown)) end
  local name, value = text:match "^([^=]*)=(.*)$"
  if not name then return ("option '%s': %s expected, got '%s'"):format(shown, OWN.value, text) end
  return draft:set_own(name, value, ("option '%s %s'"):format(shown, name))
end

--- read(rows, words): returns the values of the options --help and --version; or nil and what is wrong with the words.
-- The field `settings` has the rest.
function command.read(rows, words)
  local draft, values, path = drafts.new(), {}, nil
  local wrong = arguments.each(rows, words, function(row, text, shown)
    if row == OWN or CORE[row] then return note(draft, row, text, shown) end
    values[row[1]] = text
  end, function(word)
    if #words > 1 then return ("an option expected, got '%s' (a file stands alone)"):format(word) end
    path = word
  end)
  if wrong then return nil, wrong end
  if values.help or values.version then return values end
  if path then
    values.remarks, wrong = draft:read(path)
    if not values.remarks then return nil, wrong end
  end
  values.settings, wrong = draft:finish()
  if not values.settings then return nil, wrong end
  return values
end

--- run(values): runs the bridge until a signal comes. Returns the exit status.
function command.run(values)
  for _, remark in ipairs(values.remarks or {}) do output.say(remark, "yellow") end
  local ok, wrong = bridge.run(values.settings)
  if ok then return 0 end
  output.fail("luws bridge: " .. wrong)
  return 1
end

return command
