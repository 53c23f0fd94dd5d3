"""The check of API keys."""

from app.tools.doctor.findings import Findings
from app.tools.doctor.milvus import usual
from app.tools.doctor.server_client import Reply
from app.tools.doctor.target import Target

_WRONG = "Bearer no-such-key"
_SHUT_OUT = {401, 403}


async def check_keys(target: Target, found: Findings) -> None:
    """Check that the given key, which the first request was accepted with, is needed, and a wrong one refused."""
    has_key = target.client.authorization is not None
    request = usual(target)
    reply = await target.client.post(request.path, request.body(["any"]), authorization=_WRONG)
    if reply.status in _SHUT_OUT:
        found.green("key", "the key is accepted" if has_key else "this request needs no key")
        found.green("wrong-key", f"a wrong key is refused: {reply.told}")
        return
    if not has_key:
        found.green("key", "no key is needed")
        found.green("wrong-key", "there are no keys: whoever reaches the port may call")
        return
    found.green("key", "the request with the key is answered")
    _tell_open(target, reply, found)


def _tell_open(target: Target, reply: Reply, found: Findings) -> None:
    seen = f"a wrong key was answered {reply.status}: nobody looks at keys on /rerank"
    fix = "set RERANK_API_KEYS or RERANK_API_KEYS_FILE"
    if target.kind == "vllm":
        fix = "vLLM's --api-key guards paths below /v1 and /v2 only: put the gateway in front, with RERANK_API_KEYS"
    found.yellow("wrong-key", seen, fix)
