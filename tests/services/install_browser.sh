#!/bin/sh
# Install what steers the browser that the tests of the pages run. Does nothing when it is there.
# The browser itself is the system's (Debian: apt-get install chromium).
set -eu
target="$(cd "$(dirname "$0")/../.." && pwd)/.services/browser"
version=1.65.1
if [ -d "$target/node_modules/playwright-core" ]; then
    exit 0
fi
if ! command -v npm >/dev/null 2>&1; then
    echo "install_browser: npm is missing (Debian: apt-get install npm)" >&2
    exit 1
fi
mkdir -p "$target"
npm install --no-audit --no-fund --no-save --silent --prefix "$target" "playwright-core@$version"
