#!/usr/bin/env bash
# install-command.sh LUA FOLDER TO: installs bin/luws at TO, with the path of that interpreter in its first line, and
# the folder of the module, which need not be on its package.cpath.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lua=$(command -v "$1") || lua="/usr/bin/env $1" # to be installed later
{
  echo "#!$lua"
  echo "package.cpath = [==[$2/?.so;]==] .. package.cpath"
  tail -n +2 bin/luws
} >"$3"
chmod 755 "$3"
