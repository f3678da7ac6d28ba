-- Drives Chromium: opens pages, types into them, and asks what they show. It speaks the DevTools protocol with the
-- browser, by a client of luws's own.
--
--   local tab = browser.open "http://127.0.0.1:8080/"
--   tab:type("#name", "Ada\n")
--   tab:till "document.title == 'Welcome'"
--   local text = tab:value "document.body.innerText"
--   after_each(browser.over)                   -- closes all tabs
--
-- Whoever waits steps the reactor, which may drive the server of the page, too. The browser is a child process that
-- ends with the run (servers.lua).

local http = require "luws.http"
local json = require "luws.json"
local luws = require "luws"
local reactor = require "luws.reactor"
local servers = require "spec.support.servers"
local stepping = require "spec.support.stepping"

local browser = {}

-- Seconds for what takes less on any machine.
local PATIENCE = 20

local Tab = {}
Tab.__index = Tab

local tabs = {}

--- missing(): returns why there is no browser, or nil.
function browser.missing() return servers.missing "chromium" end

--- step(done, what): steps until done() is true. Returns what it has returned.
local function step(done, what) return stepping.till(done, nil, PATIENCE, what) end

--- receive(tab, data): takes an answer, or a complaint of the page.
local function receive(tab, data)
  local message = assert(json.decode(data))
  if message.id then
    tab.answers[message.id] = message
  elseif message.method == "Runtime.exceptionThrown" then
    local details = message.params.exceptionDetails
    table.insert(tab.complaints, details.exception and details.exception.description or details.text)
  elseif message.method == "Log.entryAdded" and message.params.entry.level == "error" then
    table.insert(tab.complaints, message.params.entry.text)
  end
end

--- open(url): opens a page in a tab of its own, and waits until it is loaded. Returns the tab. Its field `complaints`
-- has the errors that the page has reported.
function browser.open(url)
  local devtools = ("http://127.0.0.1:%d/json"):format(servers.start "chromium".devtools)
  local answer, why
  http.request(devtools .. "/new?about:blank", { method = "PUT" }, function(...) answer, why = ... end)
  step(function() return answer or why end, "a new tab")
  assert(answer and answer.status == 200, why or answer and answer.status)
  local target = assert(json.decode(answer.body))
  local tab = setmetatable({ answers = {}, complaints = {}, asked = 0 }, Tab)
  tab.conn = assert(luws.wsopen(target.webSocketDebuggerUrl, function(_, opcode, data)
    if opcode then receive(tab, data) end
  end, { wait = false, reactor = reactor, max_payload_size = 64 * 1024 * 1024 }))
  tabs[#tabs + 1] = tab
  step(function() return tab.conn.connected end, "a tab")
  for _, domain in ipairs { "Runtime", "Log", "Page" } do tab:ask(domain .. ".enable") end
  local navigated = tab:ask("Page.navigate", { url = url })
  assert(not navigated.errorText, navigated.errorText)
  tab:till "document.readyState == 'complete'"
  return tab
end

--- ask(method [, params]): calls a method of the DevTools protocol. Returns its result.
function Tab:ask(method, params)
  self.asked = self.asked + 1
  local id = self.asked
  local call = json.encode { id = id, method = method, params = params }
  assert(luws.wssend(self.conn, 1, call))
  local answer = step(function() return self.answers[id] end, method)
  self.answers[id] = nil
  assert(not answer.error, answer.error and answer.error.message)
  return answer.result
end

--- value(expression): returns the value of an expression of JavaScript in the page; of a promise, what it becomes.
function Tab:value(expression)
  local answer = self:ask("Runtime.evaluate", { expression = expression, returnByValue = true, awaitPromise = true })
  local wrong = answer.exceptionDetails
  assert(not wrong, wrong and json.encode(wrong))
  local value = answer.result.value
  if value == json.null then return nil end
  return value
end

--- till(expression): waits until an expression of JavaScript is true in the page. Returns its value.
function Tab:till(expression)
  return step(function() return self:value(("(%s) || null"):format(expression)) end, expression)
end

--- shows(selector, line, ...): waits until an element has these lines, and nothing else.
function Tab:shows(selector, ...)
  local wanted = table.concat({ ... }, "\n")
  self:till(("document.querySelector(%q).innerText.trim() == %q"):format(selector, wanted):gsub("\n", "n"))
end

--- type(selector, text): types into an element of the page. A line feed is the key Enter.
function Tab:type(selector, text)
  self:value(("document.querySelector(%s).focus()"):format(json.encode(selector)))
  for line, enter in text:gmatch "([^\n]*)(\n?)" do
    if line ~= "" then self:ask("Input.insertText", { text = line }) end
    if enter ~= "" then
      local key = { key = "Enter", code = "Enter", text = "\r", windowsVirtualKeyCode = 13 }
      for _, event in ipairs { "keyDown", "keyUp" } do
        key.type = event
        self:ask("Input.dispatchKeyEvent", key)
      end
    end
  end
end

--- close(): closes the tab, and with it the connections of its page.
function Tab:close()
  if not self.conn.connected then return end
  self:ask "Page.close"
  step(function() return not self.conn.connected end, "the end of a tab")
end

--- over(): closes all tabs.
function browser.over()
  local open = tabs
  tabs = {}
  for _, tab in ipairs(open) do tab:close() end
end

return browser
