#!/usr/bin/env bash
# Certificates for the specs, valid and invalid, made again when they expire within a day or this file changes:
#
#   pki.sh DIR    makes DIR/NAME.pem and DIR/NAME.key
#
# It does not know who uses the files. The key of a server certificate without a NAME.key is server.key, so that most
# differ in what they say and not in whose they are. All passwords are `secret`. The authorities' keys are thrown away.
#
#   Authorities   ca                  the one to trust
#                 other-ca            another one, unrelated to ca
#                 system              one that the specs have in place of the system's; it has signed nothing
#                 intermediate        signed by ca
#                 ca-text             ca with text around it, in lines as Windows writes them
#                 trusted/            a folder with ca under a name such as OpenSSL's c_rehash gives, other-ca, and a
#                                     file that is no certificate
#   Servers       server              for localhost, 127.0.0.1 and ::1 and for nothing else, so that any other loopback
#                                     address is a wrong host; followed by ca
#                 renewed             the same names and the same key, another certificate
#                 expired, future     ended in 2020; begins in 2099
#                 wrong-host          for other.example
#                 wrong-name          for other.example and 127.0.0.1
#                 wrong-address       for localhost and 192.0.2.1
#                 wildcard            for *.luws.example
#                 wrong-purpose       for TLS clients only
#                 self-signed, self-signed-v1    the latter X.509 version 1, which has no place for more names than one
#                 unknown             signed by other-ca
#                 no-intermediate     signed by intermediate, which is not sent
#                 chain               the same, and it is sent
#                 false-authority     rekeyed's key, signed by server, which has no right to; server and ca are sent
#                 huge                a chain of 80 KB: with a thousand names, and sent twice
#                 rekeyed             the names of server, another key
#                 rsa, weak           the names of server; RSA keys of 2,048 and 1,024 bits
#   Parameters    dh1024              a group of 1,024 bits for Diffie-Hellman
#   Clients       client              EC, PKCS#8, CN=luws client. Its key again: client-sec1.key, client-encrypted.key
#                                     (PKCS#8), client-traditional.key (encrypted, too). All in one: client-both.pem
#                                     (certificate and key), client.p12, client-empty.p12 (its password is empty),
#                                     client-legacy.p12 (RC2, where openssl still can)
#                 client-chain        the same key, signed by intermediate, which follows it; client-chain.p12
#                 client-rsa          RSA, PKCS#8, CN=luws RSA client; its key again: client-rsa-pkcs1.key
#                 client-unknown      signed by other-ca
set -euo pipefail

dir=${1:?usage: pki.sh DIR}
stamp=$(cksum <"${BASH_SOURCE[0]}")
mkdir -p "$dir"
dir=$(cd "$dir" && pwd) # absolute, because the work is done inside it
if command -v flock >/dev/null; then # two runs at once must not mix their files
    exec 9>"$dir/lock"
    flock 9
fi
if [[ -s $dir/stamp && $(<"$dir/stamp") == "$stamp" ]] &&
    openssl x509 -checkend 86400 -noout -in "$dir/server.pem" >/dev/null 2>&1; then
    exit 0
fi

new=$(mktemp -d "$dir/new.XXXXXX")
trap 'rm -rf "$new"' EXIT
cd "$new"
mkdir issued trusted
touch index
cat >openssl.cnf <<'END'
[req]
prompt = no
distinguished_name = name
[name]
CN = luws test
[ca]
default_ca = ledger
[ledger]
database = index
new_certs_dir = issued
rand_serial = yes
unique_subject = no
default_md = sha256
default_days = 2
policy = anything
[anything]
CN = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[authority_below]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[own]
basicConstraints = critical, CA:FALSE
subjectAltName = $ENV::names
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $ENV::names
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[wrong_purpose]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = clientAuth
subjectAltName = $ENV::names
END

# The purposes that the extensions `server`, `own` and `wrong_purpose` state.
export names=DNS:localhost

quietly() {
    local said
    said=$("$@" 2>&1) || { echo "pki.sh: $* failed: $said" >&2; exit 1; }
}

# key NAME: an EC key in PKCS#8.
key() {
    quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"
}

# own NAME KEY SUBJECT EXTENSIONS: a certificate that signs itself.
own() {
    quietly openssl req -x509 -config openssl.cnf -utf8 -days 2 -key "$2.key" -subj "$3" -extensions "$4" -out "$1.pem"
}

# issue NAME ISSUER EXTENSIONS [OPTION...]: a certificate for the key of $request.
issue() {
    local name=$1 issuer=$2 extensions=$3
    shift 3
    quietly openssl ca -config openssl.cnf -batch -notext -in "$request.csr" -cert "$issuer.pem" \
        -keyfile "$issuer.key" -extensions "$extensions" -out "$name.pem" "$@"
}

# request KEY SUBJECT: what the certificates after this are for.
request() {
    request=$1
    quietly openssl req -new -config openssl.cnf -key "$1.key" -subj "$2" -out "$1.csr"
}

# Authorities
for name in ca other-ca system intermediate; do key $name; done
own ca ca "/CN=luws test CA" authority
own other-ca other-ca "/CN=luws other CA" authority
own system system "/CN=luws system CA" authority
request intermediate "/CN=luws intermediate CA"
issue intermediate ca authority_below

# Servers
key server
request server "/CN=localhost"
issue no-intermediate intermediate server
cat no-intermediate.pem intermediate.pem >chain.pem
issue expired ca server -startdate 20190101000000Z -enddate 20200101000000Z
issue future ca server -startdate 20990101000000Z -enddate 20990201000000Z
issue wrong-purpose ca wrong_purpose
issue unknown other-ca server
names=DNS:localhost,IP:127.0.0.1,IP:::1 issue renewed ca server
names=DNS:localhost,IP:192.0.2.1 issue wrong-address ca server
names=DNS:other.example,IP:127.0.0.1 issue wrong-name ca server
names=DNS:other.example issue wrong-host ca server
names="DNS:*.luws.example" issue wildcard ca server
names=$(printf 'DNS:unit-%04d.building.luws.example,' {1..1000})DNS:localhost issue huge ca server
cat huge.pem >twice
cat twice >>huge.pem
names=DNS:localhost,IP:127.0.0.1,IP:::1 issue server ca server
names=DNS:localhost,IP:127.0.0.1 own self-signed server '/C=DE/O=Söhne, Hub & Co./CN=localhost' own
# Which of these it takes to get version 1 depends on OpenSSL's version.
openssl req -x509 -x509v1 -config openssl.cnf -days 2 -key server.key -subj /CN=localhost -out self-signed-v1.pem \
    >/dev/null 2>&1 ||
    quietly openssl x509 -req -in server.csr -signkey server.key -days 2 -out self-signed-v1.pem
key rekeyed
request rekeyed "/CN=localhost"
issue rekeyed ca server
request rekeyed "/CN=luws false"
issue false-authority server server
cp rekeyed.key false-authority.key
cat server.pem ca.pem >>false-authority.pem
cat ca.pem >>server.pem
for name in rsa:2048 weak:1024; do
    quietly openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:${name#*:}" -out "${name%:*}.key"
    request "${name%:*}" "/CN=localhost"
    issue "${name%:*}" ca server
done
quietly openssl dhparam -dsaparam -out dh1024.pem 1024

# Clients
# ecparam writes the curve before the key, as in many existing keys.
quietly openssl ecparam -name prime256v1 -genkey -out client-sec1.key
quietly openssl pkey -in client-sec1.key -out client.key
quietly openssl pkcs8 -topk8 -in client.key -passout pass:secret -out client-encrypted.key
quietly openssl pkey -traditional -aes256 -in client.key -passout pass:secret -out client-traditional.key
request client "/CN=luws client"
issue client ca client
issue client-unknown other-ca client
issue client-chain intermediate client
cp client.key client-unknown.key
cp client.key client-chain.key
cat intermediate.pem >>client-chain.pem
cat client.pem client.key >client-both.pem
quietly openssl pkcs12 -export -in client.pem -inkey client.key -passout pass:secret -out client.p12
quietly openssl pkcs12 -export -in client.pem -inkey client.key -passout pass: -out client-empty.p12
quietly openssl pkcs12 -export -in client-chain.pem -inkey client.key -passout pass:secret -out client-chain.p12
openssl pkcs12 -export -legacy -in client.pem -inkey client.key -passout pass:secret -out client-legacy.p12 \
    >/dev/null 2>&1 || rm -f client-legacy.p12
quietly openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out client-rsa.key
quietly openssl pkey -traditional -in client-rsa.key -out client-rsa-pkcs1.key
request client-rsa "/CN=luws RSA client"
issue client-rsa ca client

{ echo "The authority:"; openssl x509 -text -in ca.pem; } | sed 's/$/\r/' >ca-text.pem
cp ca.pem "trusted/$(openssl x509 -hash -noout -in ca.pem).0"
cp other-ca.pem trusted/
echo "The certificates that are trusted here." >trusted/README

rm {ca,other-ca,system,intermediate}.key
rm -rf "$dir/trusted"
mv ./*.pem ./*.key ./*.p12 trusted "$dir/"
echo "$stamp" >"$dir/stamp" # written last, so that an interrupted run is repeated
