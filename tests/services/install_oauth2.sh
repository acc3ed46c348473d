#!/bin/sh
# Install the OAuth2 server that the tests of the sign-in run against. Does nothing when it is there.
set -eu
target="$(cd "$(dirname "$0")/../.." && pwd)/.services/oauth2"
version=9.3.0
if [ -x "$target/node_modules/.bin/oauth2-mock-server" ]; then
    exit 0
fi
if ! command -v npm >/dev/null 2>&1; then
    echo "install_oauth2: npm is missing (Debian: apt-get install npm)" >&2
    exit 1
fi
mkdir -p "$target"
npm install --no-audit --no-fund --no-save --silent --prefix "$target" "oauth2-mock-server@$version"
