"""The fixes for calls that failed."""

from app.tools.doctor.server_client import NoAnswer, Reply

KEY = (
    "give the key by --key or RERANK_API_KEY; in Milvus as http://any:KEY@host in the endpoint, or as a credential in "
    "milvus.yaml"
)
_MODEL = "add ?model=NAME to the endpoint, set RERANK_DEFAULT_MODEL, or make the name an alias in RERANK_MODELS"
_BY_STATUS = {
    401: KEY,
    403: KEY,
    404: "have whatever answers here pass /rerank and /v2/rerank on to the gateway, or correct the port",
    408: "look for what slows requests down between here and the gateway; RERANK_BODY_TIMEOUT_S is its limit",
    413: "raise the proxy's body limit (nginx: client_max_body_size 64m) or RERANK_MAX_BODY_BYTES",
    415: "let no proxy change Content-Type",
    429: "the gateway is overloaded: add workers, or look for one client that sends too much",
    500: "look at the server's log",
    502: "look at the lines about workers, and at RERANK_WORKER_API_KEY and RERANK_WORKERS",
    503: "look at the lines about workers: vLLM must run, and score, at the addresses in RERANK_WORKERS",
    504: "workers take too long: look at the lines about workers; add workers, or lower max_client_batch_size",
}


def is_about_model(reply: Reply) -> bool:
    """True if the server objects to a missing or unknown model."""
    return reply.status in {400, 404, 422} and b"model" in reply.content and b'"error"' in reply.content


def fix_for(failed: Reply | NoAnswer) -> str:
    """The fix for a failed call: which settings to change."""
    if isinstance(failed, NoAnswer):
        return _BY_STATUS[504]
    if failed.is_redirect:
        return "let no proxy redirect: Milvus's POST becomes a GET. Give Milvus the final address"
    if is_about_model(failed):
        return _MODEL
    return _BY_STATUS.get(failed.status, "put the gateway in front, which takes all that Milvus sends")


def told(failed: Reply | NoAnswer) -> str:
    """A failed call in words, for a finding."""
    return f"got no answer: {failed.seen}" if isinstance(failed, NoAnswer) else f"was answered {failed.told}"
