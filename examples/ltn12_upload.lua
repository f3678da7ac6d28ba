--[[
Sends a file of any size as one binary message, without ever holding all of it in memory, and prints the answer.

    lua5.1 examples/ltn12_upload.lua URL FILE

The demo server answers with the number of bytes at ws://HOST:PORT/sink?count=1. An LTN12 source reads the file, and
each of its chunks becomes a fragment of the message. Needs LuaSocket (for its ltn12).
--]]

local luws = require "luws"
local ltn12 = require "ltn12"

local function fail(text)
  print(text)
  os.exit(1)
end

local url, path = arg[1], arg[2]
if not path then fail("usage: lua5.1 examples/ltn12_upload.lua URL FILE") end

local file, problem = io.open(path, "rb")
if not file then fail("cannot read " .. problem) end
local size = file:seek("end")
file:seek("set")

ltn12.BLOCKSIZE = 64 * 1024 -- bytes that ltn12.source.file reads at once; 2048 by default

--- Wraps the source to print how much of it has been read.
local sent, shown = 0, 0
local function progress(source)
  return function()
    local chunk, err = source()
    sent = sent + #(chunk or "")
    local percent = size > 0 and math.floor(sent / size * 10) * 10 or 100
    if percent > shown then
      print(("%3d %% read"):format(percent))
      shown = percent
    end
    return chunk, err
  end
end

local answer, ended
local conn, err = luws.wsopen(url, function(_, opcode, data)
  if opcode == false then ended = data else answer = data end
end, { receive_timeout = 30 })
if not conn then fail("cannot open " .. url .. ": " .. err) end

local ok, why = luws.wssend(conn, 2, progress(ltn12.source.file(file)))
if not ok then
  luws.wsclose(conn)
  fail("sending failed: " .. why)
end
print(("sent %d bytes"):format(sent))

while not (answer or ended) do
  luws.wsreceive(conn)
  if not (answer or ended) then luws.wswait(conn) end
end
luws.wsclose(conn)
luws.wswait(conn, 1) -- for the server's answer, which wsclose does not wait for
if not answer then fail("no answer: " .. ended) end
print("answer: " .. answer)
if sent ~= size then fail("that is not all of the file") end
