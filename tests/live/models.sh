#!/usr/bin/env bash
# Serve each model of catalogue.py with a real worker, and see what the gateway makes of it: models.sh [pytest arguments]
# One worker at a time: three minutes for two models, half an hour for all.
# TEST_VLLM_VENV names a venv that has vLLM; without it, one is made in .vllm/venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export TEST_VLLM_VENV=${TEST_VLLM_VENV:-$PWD/.vllm/venv}
tests/live/vllm/run_worker.sh "$TEST_VLLM_VENV"
exec .venv/bin/python -m pytest tests/live/test_models.py "$@"
