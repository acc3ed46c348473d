#!/bin/sh
# Install nx-27017, a server that speaks MongoDB's wire protocol, into .services/nx below the
# project root: an environment of its own, as the product depends on none of it.
# Does nothing when it is there already.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
home="$root/.services/nx"
wanted="nx-27017==0.8.1 neosqlite[jsonb]==1.17.2"

if [ -x "$home/bin/nx-27017" ] && [ "$(cat "$home/.installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

python="$root/.venv/bin/python"
[ -x "$python" ] || python=python3
mkdir -p "$root/.services"
if [ -x "$root/.venv/bin/uv" ]; then
    "$root/.venv/bin/uv" venv --quiet --clear --python "$python" "$home"
    # shellcheck disable=SC2086 # two requirements
    "$root/.venv/bin/uv" pip install --quiet --python "$home/bin/python" $wanted
else
    "$python" -m venv --clear "$home"
    # shellcheck disable=SC2086 # two requirements
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check $wanted
fi
printf '%s\n' "$wanted" > "$home/.installed"
