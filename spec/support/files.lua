-- Whole files, and what commands print, for specs.

local files = {}

--- read(path): returns what is in a file.
function files.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- output(command): returns what a shell command prints.
function files.output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

return files
