rockspec_format = "3.0"
package = "luws"
version = "0.2.0-1"
source = {
  url = "git+https://TO-BE-FILLED-IN",
  tag = "v0.2.0",
}
description = {
  summary = "A WebSocket client (RFC 6455) with the interface of LuWS",
  detailed = [[
    wsopen, wssend, wsreceive, wsclose: a WebSocket client for Lua programs that poll, ws and wss,
    as a native module. A drop-in for LuWS, the WebSocket client for Luup plugins (openLuup).
  ]],
  license = "MIT",
  labels = { "websocket", "network", "ssl", "luup" },
}
supported_platforms = { "unix" }
dependencies = {
  "lua >= 5.1, < 5.6",
}
build = {
  type = "make",
  build_target = "build",
  install_target = "install",
  build_variables = {
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
  },
  install_variables = {
    LUA = "$(LUA)",
    LUA_CPATH_DIR = "$(LIBDIR)",
    LUA_DIR = "$(LUADIR)",
    BIN_DIR = "$(BINDIR)",
  },
}
