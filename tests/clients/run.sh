#!/usr/bin/env bash
# Install the clients of others and run them against a gateway: run.sh [pytest arguments]
# Needs node and npm, or root on Debian, where they are installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v npm >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo 'no npm: install Node.js 20 or newer' >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
.venv/bin/python -m tests.clients
# Here a client that isn't installed is a failure, not a reason to skip.
CI=true exec .venv/bin/python -m pytest --numprocesses 2 --dist worksteal tests/clients/installed "$@"
