"""LiteLLM's proxy, as its pages on vLLM and on production say: one process, no database, hosted_vllm."""

from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex

import yaml

from bench.fake_worker import MODEL
from bench.peers.peer import PEERS_VENV, Peer, packaged

# It refuses to start without one.
_MASTER_KEY = f"sk-{token_hex(32)}"


def _command(workers: Sequence[str], port: int, directory: Path) -> Sequence[str]:
    models = [
        {
            "model_name": MODEL,
            "litellm_params": {"model": f"hosted_vllm/{MODEL}", "api_base": worker, "api_key": "none"},
            "model_info": {"mode": "rerank"},
        }
        for worker in workers
    ]
    settings = {"request_timeout": 600, "set_verbose": False, "json_logs": True}
    written = directory / "config.yaml"
    written.write_text(yaml.safe_dump({"model_list": models, "litellm_settings": settings}))
    return (
        *(str(PEERS_VENV / "bin" / "python"), str(PEERS_VENV / "bin" / "litellm"), "--config", str(written)),
        *("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
    )


LITELLM = Peer(
    name="litellm",
    version=packaged("litellm"),
    command=_command,
    ready="/health/liveliness",
    headers={"Authorization": f"Bearer {_MASTER_KEY}"},
    environment={"LITELLM_MASTER_KEY": _MASTER_KEY, "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"},
    remark="with httptools, which its own installation lacks; answers no request that names no model, as Milvus's do",
)
