-- `min` is what Lua 5.1, LuaJIT and later versions have in common. Nothing here may need more.
std = "min"
max_line_length = 120
exclude_files = { "build", "target" }

-- `luup` belongs to the host (openLuup, Vera); it is read if present and never created. `unpack` moved after Lua 5.1.
read_globals = { "luup", "unpack", table = { fields = { "unpack" } } }

files["types"] = { ignore = { "212", "241" } } -- declarations for editors
files["spec"] = { std = "min+busted" }
files["spec/support/luup.lua"] = { std = "lua51" } -- gives plugins environments, as openLuup does
