-- Whole files, and what commands print, for specs.

local files = {}

--- read(path): returns what is in a file.
function files.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- write(path, text): makes a file, or gives it another text. Returns its path.
function files.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

--- unused(): returns a path at which there is nothing.
function files.unused()
  local path = os.tmpname()
  os.remove(path)
  return path
end

--- output(command): returns what a shell command prints.
function files.output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

return files
