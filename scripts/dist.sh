#!/usr/bin/env bash
# dist.sh [LUA...]: packs the module, with OpenSSL in it, and everything that belongs to it as a tarball in build/, for
# machines like this one. Says what the module is made of and what it needs, then unpacks the tarball and runs the demo
# from there with each LUA, all of the same version (lua5.1 and luajit).
#
# TARGET, as armv7-unknown-linux-gnueabihf, builds for other machines: cargo has to know the linker, STRIP is the
# program that strips, and LUA a script that runs such an interpreter. CONTRIBUTING.md has an example.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

# The most that the module may have without OpenSSL. What `make build` makes is that.
readonly MOST_BYTES=$((5 * 1024 * 1024 / 2))

(($#)) || set -- lua5.1 luajit
luas=("$@")
version=$(lua_version "${luas[0]}")
for lua in "${luas[@]}"; do
  [[ $(lua_version "$lua") == "$version" ]] || fail "$lua is not Lua $version, for which this module is"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
host=$(rustc -vV | sed -n 's/^host: //p')
target=${TARGET:-$host}
release=$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=luws-$release-$target-lua$version
folder=$work/$name
mkdir -p "$folder/licences" build

PROFILE=dist scripts/build.sh vendored "$version"
built=build/dist/luws.so
${STRIP:-strip} -o "$folder/luws.so" "$built"

cp -R README.md CHANGELOG.md SECURITY.md LICENSE docs types examples lua/L_MyPlugin_LuWS.lua "$folder"
mkdir "$folder/bin"
{
  echo "#!/usr/bin/env lua$version"
  echo 'package.cpath = (arg[0]:match "^(.*/)" or "./") .. "../?.so;" .. package.cpath'
  tail -n +2 bin/luws
} >"$folder/bin/luws"
chmod 755 "$folder/bin/luws"
scripts/dist/licences.py "$folder/licences" "$target" "lua${version/./},vendored"
tar -czf "build/$name.tar.gz" -C "$work" --owner=0 --group=0 "$name"
rm -rf "$folder"

echo "What the module is made of:"
scripts/dist/sizes.py "$built" "$(<build/dist/sources)"
tar -xzf "build/$name.tar.gz" -C "$work"
bytes=$(stat -c %s "$folder/luws.so")
libraries=$(readelf -d "$folder/luws.so" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | paste -sd ' ')
glibc=$(readelf -V "$folder/luws.so" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1)
echo "stripped: $bytes bytes; it needs $libraries, with glibc ${glibc#GLIBC_} or newer"
if [[ $target == "$host" ]]; then
  usual=$(module_of "$version")
  without=$(stat -c %s "$usual")
  echo "without OpenSSL: $without bytes ($usual), at most $MOST_BYTES"
  ((without <= MOST_BYTES)) || fail "the module without OpenSSL is too large"
fi

for lua in "${luas[@]}"; do
  if ! scripts/demo.sh "$lua" "$folder" >"$work/demo" 2>&1; then
    cat "$work/demo"
    fail "the demo fails on $lua from the tarball"
  fi
  [[ $(cd / && "$lua" "$folder/bin/luws" --version) == "luws "[0-9]*" (Lua"* ]] || fail "bin/luws fails on $lua"
  time=$(for _ in {1..21}; do LUA_CPATH="$folder/?.so" "$lua" scripts/dist/load_time.lua; done | sort -n | sed -n 11p)
  echo "$lua: the demo and bin/luws are right, and require \"luws\" takes $time ms, from the tarball"
done
echo "packed build/$name.tar.gz ($(stat -c %s "build/$name.tar.gz") bytes)"
