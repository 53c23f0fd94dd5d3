"""The check that long texts may be truncated the way the settings say.

A model behind a chat template reads its score at the last token, and `truncate_prompt_tokens` cuts that off. So a text
that is cut by it must score like its own beginning; where it doesn't, only documents may be cut.
"""

from app.settings import Settings
from app.tools.doctor.findings import Findings
from app.tools.doctor.server_client import NoAnswer, ServerClient

_OK = 200
_QUERY = "What is the capital of France?"
_SENTENCE = "The capital of France is Paris. "
_FILLER = "It has a river and many old houses. "
# Enough for any template, and cheap.
_CUT_TOKENS = 384
# Of a cross-encoder's special tokens, with some to spare.
_SPECIAL_TOKENS = 8
_FILLERS = 120
# bf16 moves scores by half of it.
_ALIKE = 0.1


async def check_truncation(
    client: ServerClient, model: str, max_model_len: int, settings: Settings, found: Findings
) -> None:
    """Check that a truncated pair scores like one that fits."""
    if settings.for_model(model).truncation == "document":
        found.green(
            "worker-truncation", f"{client.name} is sent documents that are cut, as RERANK_MODELS says for {model}"
        )
        return
    limit = min(_CUT_TOKENS, max_model_len - max_model_len // 3)
    try:
        fitting = await _fitting_text(client, model, limit)
        cut = await _score(client, model, _SENTENCE + _FILLER * _FILLERS, {"truncate_prompt_tokens": limit})
        whole = await _score(client, model, fitting, {})
    except (NoAnswer, ValueError) as failed:
        seen = failed.seen if isinstance(failed, NoAnswer) else str(failed)
        fix = "for models behind a chat template set truncation: document in RERANK_MODELS; docs/vllm.md"
        found.yellow("worker-truncation", f"not checked: {client.name} {seen}", fix)
        return
    if abs(cut - whole) <= _ALIKE:
        found.green("worker-truncation", f"{client.name} scores a text that is cut like its beginning")
        return
    found.red(
        "worker-truncation",
        f"{client.name} scores a text {cut:.3f} when it is cut, and its beginning {whole:.3f}: long texts get nonsense",
        f'the model needs its template whole: RERANK_MODELS=\'{{"{model}": {{"truncation": "document"}}}}\'',
    )


async def _fitting_text(client: ServerClient, model: str, limit: int) -> str:
    """The beginning of the long text that fits without truncation."""
    sentence = await _count(client, model, _SENTENCE)
    filler = (await _count(client, model, _FILLER * _FILLERS)) / _FILLERS
    query = await _count(client, model, _QUERY)
    room = limit - _SPECIAL_TOKENS - query - sentence
    return (_SENTENCE + _FILLER * max(0, int(room / max(filler, 1)))).strip()


async def _count(client: ServerClient, model: str, text: str) -> int:
    reply = await client.post("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})
    answer = reply.json
    if reply.status != _OK or not isinstance(answer, dict) or type(answer.get("count")) is not int:
        raise ValueError(f"doesn't count tokens: /tokenize {reply.told}")
    return int(answer["count"])


async def _score(client: ServerClient, model: str, text: str, fields: dict[str, int]) -> float:
    """The score of one document."""
    reply = await client.post("/v1/score", {"model": model, "text_1": _QUERY, "text_2": [text], **fields})
    try:
        return float(reply.json["data"][0]["score"])
    except (LookupError, TypeError, ValueError):
        raise ValueError(f"gave no score: {reply.told}") from None
