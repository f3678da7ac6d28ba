-- What luacheck is to know. `min` is what Lua 5.1, LuaJIT and their successors all have: nothing here may need more.
std = "min"
max_line_length = 120
exclude_files = { "build", "target" }

-- `luup` is the host's (openLuup, Vera): read when it is there, never made. `unpack` moved after Lua 5.1.
read_globals = { "luup", "unpack", table = { fields = { "unpack" } } }

files["types"] = { ignore = { "212", "241" } } -- functions without bodies, for editors
files["spec"] = { std = "min+busted" }
files["spec/support/luup.lua"] = { std = "lua51" } -- gives plugins environments, as openLuup does
