rockspec_format = "3.0"
package = "luws"
version = "0.2.0-1"
source = {
  url = "git+https://TO-BE-FILLED-IN",
  tag = "v0.2.0",
}
description = {
  summary = "WebSockets (RFC 6455), client and server, with the interface of LuWS",
  detailed = [[
    A WebSocket client and server as one native module: ws and wss, in a plain loop or in any event loop, with proxies,
    compression, reconnecting, the WebSocket object of browsers and Socket.IO. A drop-in for LuWS, the WebSocket client
    for Luup plugins (openLuup).
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
