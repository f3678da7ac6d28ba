-- What the registration protocol needs of cryptography, by OpenSSL (Debian's lua-luaossl). It knows keys and bytes, and
-- nothing of the protocol. Functions return nil and why where something is wrong.

local cipher = require "openssl.cipher"
local digest = require "openssl.digest"
local pkey = require "openssl.pkey"
local rand = require "openssl.rand"

local crypto = {}

local OAEP = { rsaPadding = pkey.RSA_PKCS1_OAEP_PADDING }
local KEY, IV, TAG = 32, 12, 16 -- AES-256-GCM, in bytes
local RSA = 256 -- what a key of 2,048 bits makes of a key for AES

--- Returns a key with which its owner proves who they are, and one with which others write to them.
function crypto.keys()
  return { own = pkey.new { type = "EC", curve = "secp521r1" }, box = pkey.new { type = "RSA", bits = 2048 } }
end

function crypto.public(key) return key:toPEM "public" end

--- read(pem): returns a public key of this kind ("EC" or "RSA"); nil if it is none.
function crypto.read(pem, kind)
  if type(pem) ~= "string" or #pem > 1000 or not pem:find "^%-%-%-%-%-BEGIN PUBLIC KEY%-%-%-%-%-\n" then return nil end
  local ok, key = pcall(pkey.new, pem)
  if not ok then return nil end
  local is_rsa = pcall(function() key:encrypt("x", OAEP) end)
  if is_rsa ~= (kind == "RSA") then return nil end
  return key
end

function crypto.random(count) return rand.bytes(count) end

local LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

--- base64url(bytes): without padding (RFC 4648 section 5).
function crypto.base64url(bytes)
  return (bytes:gsub("..?.?", function(three)
    local a, b, c = three:byte(1, 3)
    local number = a * 65536 + (b or 0) * 256 + (c or 0)
    local text = ""
    for place = 1, #three + 1 do
      local index = math.floor(number / 64 ^ (4 - place)) % 64
      text = text .. LETTERS:sub(index + 1, index + 1)
    end
    return text
  end))
end

--- unbase64url(text): returns the bytes; nil if it is not that.
function crypto.unbase64url(text)
  if type(text) ~= "string" or text:find "[^%w_-]" or #text % 4 == 1 then return nil end
  return (text:gsub("..?.?.?", function(four)
    local number = 0
    for place = 1, 4 do
      local letter = four:sub(place, place)
      number = number * 64 + (letter == "" and 0 or LETTERS:find(letter, 1, true) - 1)
    end
    return string.char(math.floor(number / 65536), math.floor(number / 256) % 256, number % 256):sub(1, #four - 1)
  end))
end

--- fingerprint(pem): the SHA-256 of a public key, as text of 43 letters.
function crypto.fingerprint(pem)
  local sum = digest.new "sha256"
  return crypto.base64url(sum:final(pem))
end

local function sum_of(text)
  local sum = digest.new "sha256"
  sum:update(text)
  return sum
end

function crypto.sign(key, text) return crypto.base64url(key:sign(sum_of(text))) end

function crypto.verify(key, text, signature)
  local bytes = crypto.unbase64url(signature)
  local ok, is_right = pcall(function() return key:verify(bytes, sum_of(text)) end)
  return bytes ~= nil and ok and is_right == true
end

--- seal(key, text): encrypts a text for the owner of an RSA key: a fresh AES key by RSA-OAEP, the text by AES-256-GCM.
function crypto.seal(key, text)
  local secret, iv = rand.bytes(KEY), rand.bytes(IV)
  local aes = cipher.new "aes-256-gcm"
  aes:encrypt(secret, iv)
  local body = aes:update(text) .. aes:final()
  return crypto.base64url(key:encrypt(secret, OAEP) .. iv .. aes:getTag(TAG) .. body)
end

--- open(key, box): returns the text; or nil and why not.
function crypto.open(key, box)
  local bytes = crypto.unbase64url(box)
  if not bytes or #bytes < RSA + IV + TAG then return nil, "the box is too short" end
  local ok, text = pcall(function()
    local aes = cipher.new "aes-256-gcm"
    aes:decrypt(key:decrypt(bytes:sub(1, RSA), OAEP), bytes:sub(RSA + 1, RSA + IV))
    aes:setTag(bytes:sub(RSA + IV + 1, RSA + IV + TAG))
    return aes:update(bytes:sub(RSA + IV + TAG + 1)) .. assert(aes:final())
  end)
  if ok then return text end
  return nil, "the box cannot be opened"
end

return crypto
