#!/bin/sh
# Makes .venv and installs everything into it, in the versions of constraints.txt.
#
#   PYTHON  interpreter to build on; otherwise the first python3 that is new enough
#   TORCH   a torch backend of uv's; cpu leaves CUDA out, which saves some 4 GB
#
# Needs a Python with venv and a package index; nothing else, and no HOME.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*"; }
fail() {
    printf '\n%s\n' "$*" >&2
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if [ -n "${PYTHON:-}" ]; then
    is_new_enough "$PYTHON" || fail "$PYTHON is not a Python of 3.11 or newer."
else
    for candidate in python3 python3.13 python3.12 python3.11; do
        if is_new_enough "$candidate"; then
            PYTHON=$candidate
            break
        fi
    done
    [ -n "${PYTHON:-}" ] || fail "Aletheia needs Python 3.11 or newer, and finds none.
Install one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv) or name one:
    make install PYTHON=/path/to/python3"
fi
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "$PYTHON cannot make environments.
On Debian and Ubuntu that part is a package of its own: apt-get install python3-venv"

# Certificates of a company's proxy are in the system's store, and pip brings its own.
for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt \
    /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -z "${PIP_CERT:-}" ] && [ -n "$bundle" ] && [ -r "$bundle" ]; then
        export PIP_CERT="$bundle"
    fi
done
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}" PIP_DISABLE_PIP_VERSION_CHECK=1

# Both keep a cache below HOME, which may be missing or somebody else's.
cache="${XDG_CACHE_HOME:-${HOME:-/nowhere}/.cache}"
if ! mkdir -p "$cache" 2>/dev/null || [ ! -w "$cache" ]; then
    export UV_CACHE_DIR="$PWD/.venv/.cache/uv" PIP_CACHE_DIR="$PWD/.venv/.cache/pip"
fi

# A log gets a sign of life; a terminal has progress bars.
patiently() {
    "$@" &
    child=$!
    trap 'kill "$child" 2>/dev/null; exit 130' INT TERM
    seconds=0
    while kill -0 "$child" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        if [ ! -t 1 ] && [ $((seconds % 20)) -eq 0 ]; then say "    still at it: $seconds s"; fi
    done
    trap - INT TERM
    wait "$child"
}

venv=.venv/bin/python
if ! "$venv" -c 'import pip' 2>/dev/null; then
    say "Making .venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear .venv
fi

install_with_uv() {
    "$venv" -m pip install --quiet --constraint constraints.txt uv || return 1
    # uv reads no configuration of pip's; the index is often set there.
    index=$("$venv" -m pip config get global.index-url 2>/dev/null || true)
    index=${PIP_INDEX_URL:-$index}
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"; fi
    set -- --constraint constraints.txt --build-constraints constraints.txt --compile-bytecode
    if [ -n "${TORCH:-}" ]; then set -- "$@" "--torch-backend=$TORCH"; fi
    if [ ! -t 2 ]; then set -- "$@" --quiet; fi
    patiently "$venv" -m uv pip install --python "$venv" "$@" --editable '.[dev,gpu,ocr,offline,otel,speech,translation,ui]'
}

install_with_pip() {
    say "uv did not do it; trying pip, which takes some minutes"
    if [ -n "${TORCH:-}" ]; then say "TORCH=$TORCH needs uv and is ignored"; fi
    patiently "$venv" -m pip install --quiet --constraint constraints.txt \
        --editable '.[dev,gpu,ocr,offline,otel,speech,translation,ui]'
}

say "Installing (2 to 5 GB the first time, mostly PyTorch; TORCH=cpu takes the small build)"
install_with_uv || install_with_pip || fail "Installing failed; what went wrong stands above.
If no package index can be reached, name yours: PIP_INDEX_URL=https://… make install"

# The wheel holds the library alone; the command belongs to the checkout.
cat >.venv/bin/aletheia <<LAUNCHER
#!/bin/sh
cd '$PWD' && exec .venv/bin/python -m deployments.cli "\$@"
LAUNCHER
chmod +x .venv/bin/aletheia
say "Installed into .venv; the command is .venv/bin/aletheia"
