#!/usr/bin/env bash
# release.sh VERSION [DATE]: makes the tree that version: in Cargo.toml and both Cargo.lock, luws._VERSION, CHANGELOG.md
# and a rockspec. DATE, as 2026-11-28, is today by default. It commits nothing, and says what is left to do.
#
# The address of the repository is the one in Cargo.toml. spec/release_spec.lua checks that the files agree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

version=${1:?usage: scripts/release.sh VERSION [DATE]}
day=${2:-$(date -u +%F)}
[[ $version =~ ^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}$ ]] || fail "$version is not a version such as 0.2.0"
if ! number=$(date -d "$day" +%y%j 2>/dev/null) || [[ ! $day =~ ^20[0-9]{2}-[0-9]{2}-[0-9]{2}$ ]]; then
  fail "$day is not a day such as 2026-11-28"
fi

# field NAME: the value of a string in the first section of Cargo.toml; empty if it is not there.
field() {
  sed -n '/^\[package\]/,/^\[/{s/^'"$1"' = "\(.*\)"/\1/p;}' Cargo.toml
}

before=$(sed -n 's/^luws\._VERSION = //p' lua/luws.lua)
((number >= before)) || fail "luws._VERSION is $before already; it must never become smaller ($number)"
! grep -q "^## \[$version\] " CHANGELOG.md || fail "CHANGELOG.md has a version $version already"
[[ $(sed -n '/^## \[Unreleased\]/,/^## \[[0-9]/p' CHANGELOG.md) == *$'\n- '* ]] ||
  fail "nothing is under Unreleased in CHANGELOG.md"

sed -i "0,/^version = /s/^version = .*/version = \"$version\"/" Cargo.toml
sed -i "/^name = \"luws\"/{n;s/.*/version = \"$version\"/;}" Cargo.lock fuzz/Cargo.lock
sed -i "s/^luws\._VERSION = .*/luws._VERSION = $number/" lua/luws.lua
sed -i "s/^## \[Unreleased\]/&\n\n## [$version] - $day/" CHANGELOG.md
repository=$(field repository)
sed -e "s/^version = .*/version = \"$version-1\"/" -e '/^  -- /d' \
  -e "s|^  url = .*|  url = \"git+${repository:-https://TO-BE-FILLED-IN}\",\n  tag = \"v$version\",|" \
  rockspec/luws-scm-1.rockspec >"rockspec/luws-$version-1.rockspec"

echo "This is luws $version of $day ($number). What to do now, says CONTRIBUTING.md, \"Releasing\"."
[[ -n $repository ]] || echo "Cargo.toml names no repository: fill it in, and in rockspec/luws-$version-1.rockspec."
if grep -q "TO BE FILLED IN" SECURITY.md; then
  echo "SECURITY.md names no address for reports of vulnerabilities: fill it in."
fi
