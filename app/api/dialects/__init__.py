"""The choice of a request's dialect. Each dialect is one file here, which nothing outside this folder names."""

from collections.abc import Mapping
from typing import Any

from app.api.dialects.base import Dialect
from app.api.dialects.cohere1 import Cohere1
from app.api.dialects.cohere2 import Cohere2
from app.api.dialects.score import Score
from app.api.dialects.sglang import Sglang
from app.api.dialects.tei import Tei
from app.api.dialects.vllm import Vllm
from app.api.dialects.voyage import Voyage
from app.errors import BadInput

_VLLM: Dialect = Vllm(echoes=False)
# Clients of `/v1/rerank` expect vLLM's and Jina's echo; Milvus, on `/rerank`, decodes none (681 kB per 1000 documents).
_VLLM_V1: Dialect = Vllm(echoes=True)
_SCORE: Dialect = Score()
_COHERE1: Dialect = Cohere1()
_COHERE2: Dialect = Cohere2()
_TEI: Dialect = Tei()
_VOYAGE: Dialect = Voyage()
_SGLANG: Dialect = Sglang()
BY_NAME = {dialect.name: dialect for dialect in (_VLLM, _COHERE1, _COHERE2, _TEI, _VOYAGE, _SGLANG)}


def guess(path: str, asked: str | None) -> Dialect:
    """The most likely dialect before the body is read, for errors that come earlier."""
    if asked not in BY_NAME:
        asked = None
    return detect(path, asked, {})


def detect(path: str, asked: str | None, body: Mapping[str, Any]) -> Dialect:
    """The dialect of a request; the first rule that fits wins.

    Args:
        path: The route, such as `/v2/rerank`.
        asked: The query string's `dialect`.
        body: The decoded JSON object.

    Raises:
        BadInput: `asked` is no dialect.
    """
    if path.endswith("/score"):
        return _SCORE
    if asked is not None:
        if asked not in BY_NAME:
            raise BadInput(f"dialect must be one of {', '.join(sorted(BY_NAME))}", param="dialect")
        return _vllm_on(path) if asked == _VLLM.name else BY_NAME[asked]
    if path.startswith("/v2/"):
        return _COHERE2
    return _detect_by_body(body) or _vllm_on(path)


def _detect_by_body(body: Mapping[str, Any]) -> Dialect | None:
    """The dialect that has fields of this body to itself; None when no field tells."""
    if "texts" in body:
        return _TEI
    if "top_k" in body:
        return _VOYAGE
    if "rank_fields" in body or "max_chunks_per_doc" in body or _has_objects(body.get("documents")):
        return _COHERE1
    return None


def _vllm_on(path: str) -> Dialect:
    return _VLLM_V1 if path.startswith("/v1/") else _VLLM


def _has_objects(documents: object) -> bool:
    """True if a document is an object with more than a `text`, such as Cohere's fields; not multimodal `content`."""
    if not isinstance(documents, list) or dict not in map(type, documents):
        return False
    return any(type(item) is dict and not item.keys() <= {"text", "content"} for item in documents)
