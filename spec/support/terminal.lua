-- A terminal for specs: a program runs in one of tmux's, a person types, and looks at what is on the screen.
--
-- Each terminal has a tmux server of its own, which ends with it, or after a while by itself, however the run ends.

local command = require "spec.support.command"
local files = require "spec.support.files"
local socket = require "socket"

local terminal = {}

-- Seconds to wait for something on the screen, and after which a terminal ends by itself.
local PATIENCE, LONGEST = 10, 40

local Terminal = {}
Terminal.__index = Terminal

--- tmux(...): runs a command of tmux. Returns what it prints.
function Terminal:tmux(...)
  local words = { "tmux -f /dev/null -S", self.socket }
  for _, word in ipairs { ... } do words[#words + 1] = command.quote(word) end
  return files.output(table.concat(words, " ") .. " 2>&1")
end

--- type(text): types a text, and Enter.
function Terminal:type(text)
  self:tmux("send-keys", "-l", text)
  self:tmux("send-keys", "Enter")
end

--- key(name): presses a key by tmux's name for it, such as C-c.
function Terminal:key(name) self:tmux("send-keys", name) end

--- screen([has_colours]): returns what is on the screen, without blanks at the ends of lines; or with the sequences for
-- colours.
function Terminal:screen(has_colours)
  return self:tmux("capture-pane", "-p", has_colours and "-e" or "-J"):gsub(" +\n", "\n")
end

--- till(text): waits until this text (plain) is on the screen, and returns the screen.
function Terminal:till(text)
  local deadline = socket.gettime() + PATIENCE
  repeat
    local screen = self:screen()
    if screen:find(text, 1, true) then return screen end
    socket.sleep(0.02)
  until socket.gettime() > deadline
  error(("%q is not on the screen:\n%s"):format(text, self:screen()), 2)
end

--- status(): waits for the end of the program, and returns its status.
function Terminal:status() return tonumber(self:till("[status "):match "%[status (%d+)%]") end

--- resize(columns, lines): changes the size of the window.
function Terminal:resize(columns, lines) self:tmux("resize-window", "-x", tostring(columns), "-y", tostring(lines)) end

--- close(): ends the program, if it still runs.
function Terminal:close() self:tmux "kill-server" end

--- start(line [, environment]): starts a shell command, with assignments such as "NO_COLOR=1" before it.
function terminal.start(line, environment)
  local self = setmetatable({ socket = os.tmpname() }, Terminal)
  os.remove(self.socket)
  -- Ctrl-C is for the program, not for the shell.
  local script = ([[trap : INT
    { sleep %d; exec tmux -S %s kill-server; } </dev/null &
    %s %s
    echo "[status $?]"; wait]]):format(LONGEST, self.socket, environment or "", line)
  self:tmux("new-session", "-d", "-x", "100", "-y", "30", "exec sh -c " .. command.quote(script))
  return self
end

return terminal
