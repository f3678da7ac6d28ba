#!/usr/bin/env bash
# setup.sh: the Autobahn suite for Python 3 in build/autobahn, a virtual environment. Says nothing when it is there.
#
# The suite is Python 2 code. It is installed as it was published and its installed files are then converted by
# port_py3.py, so nothing of it is kept in this repository. A stamp says what the environment was made from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly SUITE=autobahntestsuite==25.10.1
from=spec/autobahn to=build/autobahn

wanted=$(cat "$from"/{setup.sh,requirements.txt,port_py3.py,selfcheck.py} <(python3 --version) | cksum)
if [[ -f $to/stamp && $(<"$to/stamp") == "$wanted" ]]; then
  exit 0
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "setup.sh: $(python3 --version) is too old; the packages of $from/requirements.txt need 3.11 or newer" >&2
  exit 1
}
echo "setup.sh: installing the Python packages of $from/requirements.txt and $SUITE into $to"
python3 -m venv --clear "$to"
python=$to/bin/python
# Nothing is compiled yet: the suite does not parse as Python 3, and its files are going to change.
install=("$python" -m pip install --quiet --disable-pip-version-check --no-compile)
# Two of the packages are published as sources only. They are built with our setuptools, not with the newest.
"${install[@]}" "$(grep '^setuptools==' "$from/requirements.txt")" "$(grep '^wheel==' "$from/requirements.txt")"
"${install[@]}" --no-build-isolation -r "$from/requirements.txt"
# What it depends on by itself are releases for Python 2.
"${install[@]}" --no-build-isolation --no-deps "$SUITE"
rm "$to/bin/wstest" # its command, which the conversion takes away

original=$(mktemp -d)
trap 'rm -rf "$original"' EXIT
cp "$to"/lib/python3*/site-packages/autobahntestsuite/case/*.py "$original"
"$python" -B "$from/port_py3.py"
"$python" -B "$from/selfcheck.py" "$original"
# An interpreter is started for each job of a run; what it says of the packages' old habits helps nobody.
PYTHONWARNINGS=ignore "$python" -m compileall -q "$to"/lib/python3*/site-packages/{autobahntestsuite,twisted}
echo "$wanted" >"$to/stamp"
