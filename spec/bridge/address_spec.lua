-- Addresses of peers, as options and files have them.

local unpack = require "spec.support.compat".unpack
local world = require "spec.support.world"

describe("the address of a peer", function()
  local address

  setup(function() address = world.new().import "bridge/address" end)

  it("is read with its scheme, its host and its port, or its path", function()
    for _, case in ipairs {
      -- what is written, the port beside it, the default; what it is as text
      { "tcp://host:1", nil, nil, "tcp://host:1" },
      { "host:1", nil, nil, "tcp://host:1" },
      { "host", "2", nil, "tcp://host:2" },
      { "host:1", "2", "3", "tcp://host:2" },
      { "host:1", nil, "3", "tcp://host:1" },
      { "udp://host", nil, "3", "udp://host:3" },
      { "TLS://Host:443", nil, nil, "tls://Host:443" },
      { "tcp://[::1]:65535", nil, nil, "tcp://[::1]:65535" },
      { "[fe80::1%eth0]:1", nil, nil, "tcp://[fe80::1%eth0]:1" },
      { "tcp://::1", "5", nil, "tcp://[::1]:5" }, -- as websocksy has it
      { "::ffff:10.0.0.1", "5", nil, "tcp://[::ffff:10.0.0.1]:5" },
      { "tcp://localhost:http", nil, nil, "tcp://localhost:80" },
      { "tcp://localhost:www", nil, nil, "tcp://localhost:80" }, -- another name of it
      { "unix:///run/app/socket", "5", nil, "unix:///run/app/socket" },
      { "unix://relative path:1", nil, nil, "unix://relative path:1" },
      { "unix-dgram:///run/a", nil, nil, "unix-dgram:///run/a" },
      { "unix://" .. ("x"):rep(107), nil, nil, "unix://" .. ("x"):rep(107) },
    } do
      local of, wrong = address.parse(case[1], case[2], case[3])
      assert.equal(case[4], of and address.text(of), wrong)
    end
  end)

  it("or it is said what is wrong with it", function()
    local port = "a port from 1 to 65535 or the name of a service expected"
    local no_port = "the port is missing (an IPv6 address before it needs brackets)"
    for _, case in ipairs {
      { "", "the host is missing" },
      { "tcp://", "the host is missing" },
      { "tcp://:1", "the host is missing" },
      { "tcp://host", no_port },
      { "tcp://::1", no_port },
      { "tcp://host:", port .. ", got ''" },
      { "tcp://host:0", port .. ", got '0'" },
      { "tcp://host:65536", port .. ", got '65536'" },
      { "tcp://host:99999999999999999999", port .. ", got '99999999999999999999'" },
      { "tcp://host:-1", port .. ", got '-1'" },
      { "tcp://host:1/", port .. ", got '1/'" },
      { "tcp://host:no-such", port .. ", got 'no-such'" },
      { "tcp://[::1]5", "'5' is no port" },
      { "tcp://[host]:5", "'[host]' is no host" },
      { "tcp://a b:5", "'a b' is no host" },
      { "tcp://a/b:5", "'a/b' is no host" },
      { "tcp://a:1:x:5", port .. ", got '1:x:5'" },
      { "tcp://" .. ("x"):rep(256) .. ":5", "'" .. ("x"):rep(256) .. "' is no host" },
      { "tcp://host\n:5", "a control character is in it" },
      { "tcp://host\0:5", "a control character is in it" },
      { "fifotx:///a", "unknown scheme 'fifotx' (tcp, udp, tls, unix, unix-dgram)" },
      { "://a", "unknown scheme '' (tcp, udp, tls, unix, unix-dgram)" },
      { "unix://", "the path is missing" },
      { "unix://" .. ("x"):rep(108), "the path is longer than 107 bytes" },
    } do
      assert.same({ nil, case[2] }, { address.parse(case[1]) }, case[1])
    end
  end)

  it("is followed, for peers that want to know it, by that of the client", function()
    for _, case in ipairs {
      -- the client's address and port, where it has connected to, and the line
      { "192.0.2.1", 5, "10.0.0.1", 80, "TCP4 192.0.2.1 10.0.0.1 5 80" },
      { "192.0.2.1", 5, "::ffff:10.0.0.1", 80, "TCP4 192.0.2.1 10.0.0.1 5 80" },
      { "192.0.2.1", nil, "10.0.0.1", 80, "TCP4 192.0.2.1 10.0.0.1 0 80" }, -- a proxy says no port
      { "2001:DB8::1", 5, "::1", 80, "TCP6 2001:db8::1 ::1 5 80" },
      { "2001:db8::1", 5, "10.0.0.1", 80, "TCP6 2001:db8::1 ::ffff:10.0.0.1 5 80" }, -- both of one family
      { "192.0.2.1", 5, "::1", 80, "TCP6 ::ffff:192.0.2.1 ::1 5 80" },
      { "fe80::1%eth0", 5, "fe80::2%eth0", 80, "TCP6 fe80::1 fe80::2 5 80" },
      { "unknown", nil, "10.0.0.1", 80, "UNKNOWN" },
      { "_x\r\nGET", nil, "10.0.0.1", 80, "UNKNOWN" },
      { nil, nil, "10.0.0.1", 80, "UNKNOWN" },
      { nil, nil, nil, nil, "UNKNOWN" },
    } do
      local client, client_port, host, port, line = unpack(case, 1, 5)
      assert.equal("PROXY " .. line .. "\r\n", address.preface(client, client_port, host, port))
    end
  end)
end)
