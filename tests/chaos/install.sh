#!/usr/bin/env bash
# Install the languages of real clients that the chaos tests run, where they are missing: as root on Debian.
set -euo pipefail
missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v go >/dev/null || missing+=(golang-go)
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install ${missing[*]}, without which tests/chaos/test_refused_early.py can't run whole" >&2
    exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
