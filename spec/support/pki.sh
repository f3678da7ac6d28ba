#!/usr/bin/env bash
# A certificate authority for the specs and a server certificate of it, made anew when less than a day is left to them:
#
#   pki.sh DIR    makes DIR/ca.pem, DIR/server.pem (the leaf, then the authority) and DIR/server.key (PKCS#8)
#
# The certificate is for localhost, 127.0.0.1 and ::1 and for nothing else, so that any other loopback address is a
# wrong host. The authority's key is thrown away. It does not know who uses the files.
set -euo pipefail

dir=${1:?usage: pki.sh DIR}
mkdir -p "$dir"
if command -v flock >/dev/null; then # two runs at once must not mix their files
    exec 9>"$dir/lock"
    flock 9
fi
if [[ -s $dir/ca.pem && -s $dir/server.key ]] &&
    openssl x509 -checkend 86400 -noout -in "$dir/server.pem" >/dev/null 2>&1; then
    exit 0
fi

new=$(mktemp -d "$dir/new.XXXXXX")
trap 'rm -rf "$new"' EXIT
cat >"$new/openssl.cnf" <<'END'
[req]
prompt = no
distinguished_name = name
[name]
CN = luws test
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
END

quietly() {
    local said
    said=$("$@" 2>&1) || { echo "pki.sh: $* failed: $said" >&2; exit 1; }
}
curve=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
config=(-config "$new/openssl.cnf")
quietly openssl req -x509 "${config[@]}" "${curve[@]}" -days 2 -subj "/CN=luws test CA" -extensions ca \
    -keyout "$new/ca.key" -out "$new/ca.pem"
quietly openssl req -new "${config[@]}" "${curve[@]}" -subj "/CN=localhost" \
    -keyout "$new/server.key" -out "$new/server.csr"
quietly openssl x509 -req -in "$new/server.csr" -CA "$new/ca.pem" -CAkey "$new/ca.key" -days 2 \
    -set_serial "0x$(openssl rand -hex 8)" -extfile "$new/openssl.cnf" -extensions server \
    -out "$new/leaf.pem"
cat "$new/leaf.pem" "$new/ca.pem" >"$new/server.pem"
mv "$new/ca.pem" "$new/server.key" "$new/server.pem" "$dir/"
