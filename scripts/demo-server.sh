# shellcheck shell=bash disable=SC2034
# To be sourced, from the project's folder: starts the project's own server. It sets $ws and $wss to its ports, and $ca
# to the authority of its certificate. `stop_server` ends it, and so does the end of the shell.
export LUA_CPATH="./build/?.so;;"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
bash spec/support/pki.sh "$work"
ca=$work/ca.pem

# The server lives as long as this end of the pipe is open, so it cannot outlive us.
exec {lifeline}> >(exec build/luws-demo-server --until-stdin-closes --ready "$work/ready" \
  --cert "$work/server.pem" --key "$work/server.key")
server=$!
for _ in $(seq 100); do
  [ -e "$work/ready" ] && break
  sleep 0.05
done
ws=$(sed -n 's/^ws //p' "$work/ready")
wss=$(sed -n 's/^wss //p' "$work/ready")

stop_server() {
  exec {lifeline}>&-
  wait "$server" || true
}
