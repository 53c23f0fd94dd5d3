#!/usr/bin/env bash
# Run the live tests against two real workers of their own: run.sh [pytest arguments]
# TEST_VLLM_VENV names a venv that has vLLM; without it, one is made in .vllm/venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$(pwd -P)
live=$root/tests/live/vllm
logs=$root/.vllm/logs
export TEST_VLLM_VENV=${TEST_VLLM_VENV:-$root/.vllm/venv}
start_s=300
stop_s=20
children=()

# Each child leads a process group of its own: what it leaves behind after TERM goes with that group.
stop() {
    local pid waited=0
    for pid in "${children[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${children[@]}"; do
        while kill -0 "$pid" 2>/dev/null && [ "$waited" -lt $((stop_s * 10)) ]; do
            sleep 0.1
            waited=$((waited + 1))
        done
        kill -KILL -- "-$pid" 2>/dev/null || true
    done
}
trap stop EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# Start a command and remember it; a signal to this script is handled while it waits for what runs here.
spawn() {
    setsid "$@" </dev/null &
    children+=("$!")
}

free_port() {
    .venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

until_healthy() { # PID URL LOG
    local until=$((SECONDS + start_s))
    until curl --silent --fail --max-time 5 "$2/health"; do
        if ! kill -0 "$1" 2>/dev/null || [ "$SECONDS" -ge "$until" ]; then
            echo "no worker at $2; its last words:" >&2
            tail -n 40 "$3" >&2
            return 1
        fi
        sleep 0.5
    done
}

mkdir -p "$logs"
began=$SECONDS
spawn "$live/run_worker.sh" "$TEST_VLLM_VENV"
wait "${children[-1]}"
echo "vLLM is in $TEST_VLLM_VENV after $((SECONDS - began)) s"

urls=()
# One after the other: loading a model uses all cores.
for number in 1 2; do
    began=$SECONDS
    url=http://127.0.0.1:$(free_port)
    log=$logs/worker-$number.log
    spawn "$live/run_worker.sh" "$TEST_VLLM_VENV" "$live/model-tiny-reranker" "${url##*:}" >"$log" 2>&1
    until_healthy "${children[-1]}" "$url" "$log"
    echo "worker $number is ready at $url after $((SECONDS - began)) s"
    urls+=("$url")
done

export TEST_VLLM_URLS=${urls[0]},${urls[1]}
spawn .venv/bin/python -m pytest tests/live --ignore=tests/live/test_models.py "$@"
wait "${children[-1]}"
