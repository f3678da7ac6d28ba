-- The servers that specs talk to, as child processes: started when a spec first asks for one, ended with the run.
--
-- Each child has the other end of a pipe as its standard input and ends when that ends. So none can outlive the run,
-- however the run dies: the collector, exit and the kernel all close the pipe. A child writes the ports that it is
-- ready on into a file that it is given. This file knows how to start the servers, not what they do.

local socket = require "socket"

local servers = {}

local PATIENCE = 10 -- seconds for a child to get ready, unless it has more of its own

-- The project's directory, as seen from where the run was started: "" or a path with its slash.
local ROOT = debug.getinfo(1, "S").source:match "^@(.*)spec/support/servers%.lua$" or ""
ROOT = ROOT:gsub("^%./", "")

-- For each server: the command, the ports that it reports, and a file that exists only if it was built.
local KNOWN = {
  demo = {
    command = { ROOT .. "build/luws-demo-server", "--until-stdin-closes" },
    ports = { "ws", "wss" },
    needs = ROOT .. "build/luws-demo-server",
  },
  websockets = {
    command = { ROOT .. "build/interop/venv/bin/python", ROOT .. "spec/interop/websockets_server.py" },
    ports = { "ws", "wss" },
    needs = ROOT .. "build/interop/venv/bin/python",
  },
  ws = {
    command = { "node", ROOT .. "spec/interop/ws_server.js" },
    ports = { "ws", "wss" },
    needs = ROOT .. "build/interop/node_modules/ws/package.json",
  },
  engineio = {
    command = { "node", ROOT .. "spec/interop/engineio_server.js" },
    ports = { "http" },
    needs = ROOT .. "build/interop/node_modules/engine.io/package.json",
  },
  ["python-engineio"] = {
    command = { ROOT .. "build/interop/venv/bin/python", ROOT .. "spec/interop/engineio_server.py" },
    ports = { "http" },
    needs = ROOT .. "build/interop/venv/bin/python",
  },
  socketio = {
    command = { "node", ROOT .. "spec/interop/socketio_server.js" },
    ports = { "io", "recovering" },
    needs = ROOT .. "build/interop/node_modules/socket.io/package.json",
  },
  ["python-socketio"] = {
    command = { ROOT .. "build/interop/venv/bin/python", ROOT .. "spec/interop/socketio_server.py" },
    ports = { "io" },
    needs = ROOT .. "build/interop/venv/bin/python",
  },
  scripted = {
    command = { "python3", "-B", ROOT .. "spec/support/scripted_server.py" },
    ports = { "control" },
    needs = ROOT .. "spec/support/scripted_server.py",
  },
  relay = {
    command = { "python3", "-B", ROOT .. "spec/support/relay.py" },
    ports = { "control" },
    needs = ROOT .. "spec/support/relay.py",
  },
  sockproxy = {
    command = { "python3", "-B", ROOT .. "spec/support/sockproxy.py" },
    ports = { "control", "good", "silent", "wrong", "endless", "closes", "busy", "refuses", "vanishes", "mute", "slow",
      "bytes" },
    needs = ROOT .. "spec/support/sockproxy.py",
  },
  openssl = {
    command = { "python3", "-B", ROOT .. "spec/support/openssl_server.py" },
    ports = { "tls", "tls12", "tls13", "bytes12", "bytes13", "mutual12", "mutual13", "drip12", "drip13", "hello12",
      "hello13", "certificate12", "certificate13", "end_hello", "end_certificate" },
    needs = ROOT .. "spec/support/openssl_server.py",
  },
  nginx = {
    command = { "python3", "-B", ROOT .. "spec/support/nginx_server.py" },
    ports = { "tls12", "tls13", "both" },
    needs = "/usr/sbin/nginx", -- where Debian has it
  },
  chromium = {
    command = { "python3", "-B", ROOT .. "spec/support/chromium.py" },
    ports = { "devtools" },
    needs = "/usr/bin/chromium",
    patience = 40, -- with three interpreters, three of them start at the same time
  },
  microsocks = {
    command = { "python3", "-B", ROOT .. "spec/support/proxy_server.py", "microsocks" },
    ports = { "open", "auth" },
    needs = "/usr/bin/microsocks",
  },
  danted = {
    command = { "python3", "-B", ROOT .. "spec/support/proxy_server.py", "danted" },
    ports = { "open" },
    needs = "/usr/sbin/danted",
  },
  tinyproxy = {
    command = { "python3", "-B", ROOT .. "spec/support/proxy_server.py", "tinyproxy" },
    ports = { "open", "auth", "tls" },
    needs = "/usr/bin/tinyproxy",
  },
  squid = {
    command = { "python3", "-B", ROOT .. "spec/support/proxy_server.py", "squid" },
    ports = { "open", "basic", "digest", "tls" },
    needs = "/usr/sbin/squid",
  },
}

-- Children inherit LuaSocket's sockets. Such a child would keep a connection open that a spec has closed, so it starts
-- with only the three standard descriptors. Ctrl-C is left to the run, whose end ends the child.
local LAUNCHER = "import os, signal, sys; os.closerange(3, 65536); "
  .. "signal.signal(signal.SIGINT, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"

-- busted reloads modules for each spec file, so anything that lives as long as the run is kept where busted does not
-- look.
local registry = debug.getregistry()
registry["luws.spec.servers"] = registry["luws.spec.servers"] or {}
local children = registry["luws.spec.servers"] -- name -> { pipe =, ports = { [port's name] = number } }

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

local function read_ports(path, names)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  local ports = {}
  for _, name in ipairs(names) do
    ports[name] = tonumber(("\n" .. text):match("\n" .. name .. " (%d+)\n"))
    if not ports[name] then
      return nil, text
    end
  end
  return ports
end

--- Returns the directory of the test certificates. Makes them if they are missing or about to expire.
local pki_dir
local function pki()
  if not pki_dir then
    local dir = ROOT .. "build/pki"
    local status = os.execute("bash " .. quote(ROOT .. "spec/support/pki.sh") .. " " .. quote(dir))
    assert(status == 0 or status == true, "the test certificates could not be made (spec/support/pki.sh)")
    pki_dir = dir
  end
  return pki_dir
end

--- Returns the file with the certificate authority that signed every server's certificate.
function servers.ca_file()
  return pki() .. "/ca.pem"
end

--- Returns the path of one of the test certificates' files; spec/support/pki.sh has the names.
function servers.pki(name)
  return pki() .. "/" .. name
end

--- Returns the first certificate in one of those files, in PEM. The pattern includes the dashes, since "END" alone may
-- occur in the data.
function servers.leaf(name)
  local file = assert(io.open(servers.pki(name)))
  local text = file:read "*a"
  file:close()
  return assert(text:match "^%-%-%-%-%-BEGIN.-%-%-%-%-%-END[^\n]*\n")
end

--- Returns the files of the servers' certificate (with its chain) and of its key, both in PEM.
function servers.certificate()
  return pki() .. "/server.pem", pki() .. "/server.key"
end

--- Returns why a server can't be started here, as a sentence for `pending`; nil if it can.
function servers.missing(name)
  local server = assert(KNOWN[name], "there is no server " .. tostring(name))
  if not exists(server.needs) then
    return server.needs .. " is missing; scripts/setup.sh and make provide it"
  end
end

--- Starts a server unless it runs already. Returns its ports by name (`ws`, `wss`). Raises an error if it does not get
-- ready.
function servers.start(name)
  if children[name] then
    return children[name].ports
  end
  local missing = servers.missing(name)
  if missing then
    error(missing, 2)
  end
  local server = KNOWN[name]
  local ready = os.tmpname()
  local cert, key = servers.certificate()
  local words = { "python3", "-c", LAUNCHER }
  for _, word in ipairs(server.command) do
    words[#words + 1] = word
  end
  for _, word in ipairs { "--ready", ready, "--cert", cert, "--key", key } do
    words[#words + 1] = word
  end
  for i, word in ipairs(words) do
    words[i] = quote(word)
  end
  -- The shell waits for the child, so if it ends early, this shows at once and not after a deadline.
  local command = table.concat(words, " ")
  local pipe = assert(io.popen(command .. " || { [ ! -e " .. ready .. " ] || echo failed >" .. ready .. "; }", "w"))
  local patience = server.patience or PATIENCE
  local deadline = socket.gettime() + patience
  local ports, said
  repeat
    socket.sleep(0.005)
    ports, said = read_ports(ready, server.ports)
  until ports or said == "failed\n" or socket.gettime() > deadline
  os.remove(ready)
  if not ports then
    local reason = said == "failed\n" and "ended before it was ready"
      or ("was not ready after " .. patience .. " s")
    -- The collector closes the pipe: closing it here would wait for a child that may not end.
    error("the server " .. name .. " " .. reason .. ": " .. table.concat(server.command, " "), 2)
  end
  children[name] = { pipe = pipe, ports = ports }
  return ports
end

--- Returns the URL of a path on a server, and starts the server if necessary: `servers.url("demo", "ws", "/echo")`.
function servers.url(name, scheme, path)
  local ports = servers.start(name)
  local port = assert(ports[scheme], "there is no port for the scheme " .. tostring(scheme))
  local host = scheme == "wss" and "localhost" or "127.0.0.1"
  return ("%s://%s:%d%s"):format(scheme, host, port, path or "/")
end

--- Ends all servers and waits until they have. A later `start` starts them again.
function servers.stop()
  for name, child in pairs(children) do
    children[name] = nil
    child.pipe:close()
  end
end

return servers
