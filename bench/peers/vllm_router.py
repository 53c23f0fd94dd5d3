"""vllm-router: the vLLM project's own load balancer, in Rust."""

from collections.abc import Sequence
from pathlib import Path

from bench.peers.peer import PEERS_VENV, Peer, packaged
from tests.integration.commands import free_port


def _command(workers: Sequence[str], port: int, _: Path) -> Sequence[str]:
    return (
        *(str(PEERS_VENV / "bin" / "python"), str(PEERS_VENV / "bin" / "vllm-router")),
        *("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())),
        *("--worker-urls", *workers, "--policy", "round_robin"),
    )


# Its /rerank and /v1/rerank expect SGLang's list of results; to vLLM's object they answer 500, "Failed to build rerank
# response". /v2/rerank is none of its own routes and goes to a worker as it is.
VLLM_ROUTER = Peer(
    name="vllm-router",
    version=packaged("vllm-router"),
    command=_command,
    path="/v2/rerank",
    remark="its own `/rerank`, which Milvus calls, answers 500 to vLLM's answers; measured on `/v2/rerank`, "
    "which it passes on unread",
)
