-- The rules of access: which peers, which pages, which passwords.

local world = require "spec.support.world"

describe("the rules of access", function()
  local access, address

  setup(function()
    local w = world.new()
    access, address = w.import "bridge/access", w.import "bridge/address"
  end)

  it("compare peers with patterns as they were resolved", function()
    for _, case in ipairs {
      -- pattern; address; host as it was resolved; whether it is allowed
      { "tcp://127.0.0.1:*", "tcp://localhost:80", "127.0.0.1", true },
      { "tcp://127.0.0.1:*", "tcp://localhost:80", "::ffff:127.0.0.1", true },
      { "tcp://127.0.0.1:*", "tcp://127.0.0.1:80", "127.0.0.1", true },
      { "tcp://127.0.0.1:*", "tcp://localhost:80", "::1", false },
      { "tcp://127.0.0.1:*", "tls://localhost:80", "127.0.0.1", false },
      { "*://127.0.0.1:*", "udp://localhost:80", "127.0.0.1", true },
      { "*://127.0.0.1:*", "unix://127.0.0.1:80", nil, false },
      { "tcp://127.0.0.1:80", "tcp://localhost:8080", "127.0.0.1", false },
      { "tcp://127.0.0.1:80", "tcp://localhost:80", "127.0.0.1", true },
      { "tcp://127.0.0.1:80*", "tcp://localhost:8080", "127.0.0.1", true },
      { "tcp://[::1]:*", "tcp://[::1]:5", "::1", true },
      { "tcp://[2001:DB8::*]:*", "tcp://x:5", "2001:db8::7", true },
      -- however addresses and ports are written
      { "tcp://[2001:0db8:0:*]:*", "tcp://x:5", "2001:db8:0:1:2:3:4:5", true },
      { "tcp://[0:0:0:0:0:0:0:1]:*", "tcp://localhost:5", "::1", true },
      { "tcp://[::ffff:127.0.0.1]:*", "tcp://localhost:5", "127.0.0.1", true },
      { "tcp://127.1:*", "tcp://localhost:5", "127.0.0.1", true },
      { "tcp://localhost:http", "tcp://localhost:80", "127.0.0.1", true },
      { "udp://127.0.0.1:domain", "udp://127.0.0.1:53", "127.0.0.1", true },
      { "tcp://127.0.0.1:080", "tcp://127.0.0.1:80", "127.0.0.1", true },
      { "tcp://10.*:*", "tcp://10.evil.example:80", "192.0.2.1", false }, -- a name is nobody's address
      { "tcp://10.*:*", "tcp://10.evil.example:80", "10.1.2.3", true },
      { "tcp://10.0.0.1:*", "tcp://10.0.0.100:80", "10.0.0.100", false },
      { "tcp://10.0.0.1:*", "tcp://2130706433:80", "127.0.0.1", false },
      { "tcp://db.example:5432", "tcp://DB.example:5432", "192.0.2.1", true },
      { "tcp://db.example:5432", "tcp://other.example:5432", "192.0.2.1", false },
      { "tcp://dbxexample:5432", "tcp://db.example:5432", "192.0.2.1", false }, -- only * is special
      { "unix:///run/app/*", "unix:///run/app/a", nil, true },
      { "unix:///run/app/*", "unix:///run/app/a/b", nil, false },
      { "unix:///run/app/*", "unix:///run/app/../b", nil, false },
      { "unix:///run/app/*", "unix:///run/APP/a", nil, false },
      { "unix:///run/app/*", "unix-dgram:///run/app/a", nil, false },
      { "unix*:///run/app/*", "unix-dgram:///run/app/a", nil, true },
      { "unix:///run/app/*", "tcp://run:5", "127.0.0.1", false },
    } do
      local rule = assert(access.rule(case[1]))
      local rules = access.new { allowed = { rule } }
      assert.equal(case[4], rules:allows(assert(address.parse(case[2])), case[3]), case[1] .. " " .. case[2])
    end
    assert.is_true(access.new({}):allows(assert(address.parse "tcp://anywhere:1"), "192.0.2.1"))
  end)

  it("say which patterns could never do what they seem to", function()
    local host = "a * in the host stands for a part of an address, not of a name"
    local port = "a port (or *) is missing, or an IPv6 address has no brackets"
    local number = "a port from 1 to 65535 or the name of a service expected, or with a *"
    for _, case in ipairs {
      { access.rule, "127.0.0.1:*", "a pattern such as tcp://127.0.0.1:* or unix:///run/* expected" },
      { access.rule, "tcp://127.0.0.1", port },
      { access.rule, "tcp://::1:5", port },
      { access.rule, "tcp://*.example:80", host },
      { access.rule, "tcpp://127.0.0.1:80", "no peer has this scheme" },
      { access.rule, "tcp://127.0.0.1:0", number },
      { access.rule, "tcp://127.0.0.1:65536", number },
      { access.rule, "tcp://127.0.0.1:no-such", number },
      { access.rule, "tcp://127.0.0.1:x*", number },
      { access.origin, "https://b\195\188cher.example", "browsers write such a name in ASCII (xn--)" },
      { access.origin, "https://example.com/", "an origin such as https://example.com expected, without a path" },
      { access.origin, "example.com", "an origin such as https://example.com expected, without a path" },
      { access.origin, "*", "an origin such as https://example.com expected, without a path" },
      { access.credentials, "user", "USER:PASSWORD expected" },
      { access.credentials, ":password", "USER:PASSWORD expected" },
      { access.credentials, "user:\1", "a user or a password cannot have control characters in it" },
    } do
      assert.same({ nil, case[3] }, { case[1](case[2]) })
    end
  end)

  it("take pages by their origin, and programs that send none", function()
    for _, case in ipairs {
      { "https://example.com", "https://example.com", true },
      { "https://example.com", "HTTPS://Example.com", true },
      { "https://example.com", "https://example.com:8443", false },
      { "https://example.com", "http://example.com", false },
      { "https://*.example", "https://a.example", true },
      { "https://*.example", "https://a.b.example", true },
      { "https://*.example", "https://example", false },
      { "https://*.example", "https://a.example.evil", false },
      { "https://*.example", "https://evil.com/.example", false },
      { "https://a.example", "https://a-example", false },
      { "*://localhost:*", "http://localhost:3000", true },
      { "https://example.com:443", "https://example.com", true }, -- as browsers write it
      { "http://example.com:80", "http://example.com", true },
      { "https://example.com:80", "https://example.com", false },
      { "null", "null", true },
      { "https://example.com", "null", false },
      { "https://example.com", "", false },
      { "https://example.com", nil, true },
    } do
      local rules = access.new { origins = { assert(access.origin(case[1])) } }
      local refusal = rules:refusal { headers = { origin = case[2] } }
      assert.equal(not case[3] and 403 or nil, refusal and refusal.status, case[1] .. " " .. tostring(case[2]))
    end
  end)

  it("take the passwords that they know, and no others", function()
    local rules = access.new {
      credentials = { assert(access.credentials "Aladdin:open sesame"), assert(access.credentials "b:c:d") },
    }
    for _, case in ipairs {
      { "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", nil },
      { "basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ== ", nil },
      { "Basic YjpjOmQ=", nil },
      { "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "the user or the password is wrong" },
      { "Basic YjpjOmQ=, Basic YjpjOmQ=", "the user or the password is wrong" },
      { "Basic", "the user or the password is wrong" },
      { "Bearer YjpjOmQ=", "the user or the password is wrong" },
      { "", "the user or the password is wrong" },
      { nil, "it has no user and password" },
    } do
      local refusal, why = rules:refusal { headers = { authorization = case[1] } }
      assert.equal(case[2], why)
      assert.equal(case[2] and 401, refusal and refusal.status)
      assert.equal(case[2] and 'Basic realm="luws bridge", charset="UTF-8"',
        refusal and refusal.headers["WWW-Authenticate"])
    end
    assert.is_nil(access.new({}):refusal { headers = { authorization = "Basic x", origin = "https://any" } })
  end)
end)
