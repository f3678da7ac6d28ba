#!/usr/bin/env bash
# rock.sh: packs what is committed as a source rock, build/luws-scm-1.src.rock, for `luarocks install`.
#
# The rockspec names its own clone as the source, but luarocks resolves that elsewhere, so it gets the whole path here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh
command -v luarocks >/dev/null || fail "there is no luarocks here; to install it: sudo apt-get install luarocks"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
here=$(git rev-parse --show-toplevel)
ln -s "$here" "$work/luws" # git names the folder after this
name=luws-scm-1
sed "s|git+file://\.|git+file://$work/luws|" "rockspec/$name.rockspec" >"$work/$name.rockspec"
(cd "$work" && luarocks --lua-version 5.1 pack "$name.rockspec") >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  exit 1
}
mkdir -p build
mv "$work/$name.src.rock" build/
echo "packed build/$name.src.rock"
