#!/usr/bin/env bash
# Run the tests of the page in a browser: run.sh [pytest arguments]
# TEST_CHROMIUM names a Chromium; without it there must be one on the path, or root on Debian, where it is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ -z "${TEST_CHROMIUM:-}" ] && ! command -v chromium >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo 'no chromium: install it, or name one in TEST_CHROMIUM' >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
fi
# Here a missing browser is a failure, not a reason to skip.
CI=true exec .venv/bin/python -m pytest tests/page "$@"
