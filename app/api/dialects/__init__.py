"""All dialects, each of which is one file here, and the choice of a request's.

Which routes there are, what `?dialect=` and the first segment of a path may say, how a body gives its dialect away,
what OpenAPI shows and the tables of docs/api.md: all of it is read from `DIALECTS`.
"""

from collections.abc import Mapping
from typing import Any

from app.api.dialects.ali import Ali
from app.api.dialects.base import Dialect
from app.api.dialects.cohere1 import Cohere1
from app.api.dialects.cohere2 import Cohere2
from app.api.dialects.huggingface import Huggingface
from app.api.dialects.infinity import Infinity
from app.api.dialects.mixedbread import Mixedbread
from app.api.dialects.nvidia import Nvidia
from app.api.dialects.score import Score
from app.api.dialects.sglang import Sglang
from app.api.dialects.tei import Tei
from app.api.dialects.vllm import Vllm
from app.api.dialects.voyage import Voyage
from app.api.dialects.weaviate import Weaviate
from app.errors import BadInput

_VLLM, _COHERE1, _COHERE2, _SCORE = Vllm(), Cohere1(), Cohere2(), Score()
# In the order in which a body is looked at: of several whose sign it has, the first is its dialect.
DIALECTS: tuple[Dialect, ...] = (
    _VLLM,
    Tei(),
    Nvidia(),
    Mixedbread(),
    Ali(),
    Huggingface(),
    Weaviate(),
    Voyage(),
    _COHERE1,
    _COHERE2,
    Sglang(),
    Infinity(),
    _SCORE,
)
ROUTES = tuple(route for dialect in DIALECTS for route in dialect.routes)

_BY_ROUTE = {route: dialect for dialect in DIALECTS for route in dialect.routes}
_SIGNED = tuple(dialect for dialect in DIALECTS if dialect.sign)
_BY_NAME = {dialect.name: dialect for dialect in DIALECTS if dialect is not _SCORE}
_BY_PREFIX = _BY_NAME | {prefix: dialect for dialect in DIALECTS for prefix in dialect.prefixes}
# What `?dialect=` may say, and what the first segment of a path may be to choose one.
NAMES = tuple(sorted(_BY_NAME))
PREFIXES = tuple(sorted(_BY_PREFIX))


def guess(path: str, asked: str | None, prefix: str = "") -> Dialect:
    """The most likely dialect before the body is read, for errors that come earlier."""
    return detect(path, asked if asked in _BY_NAME else None, {}, prefix)


def detect(path: str, asked: str | None, body: Mapping[str, Any], prefix: str = "") -> Dialect:
    """The dialect of a request; the first rule that fits wins.

    Args:
        path: The route, such as `/v2/rerank`.
        asked: The query string's `dialect`.
        body: The decoded JSON object.
        prefix: The first segment of the path as it arrived, if that is one of `PREFIXES`.

    Raises:
        BadInput: `asked` is no dialect.
    """
    own = _BY_ROUTE.get(path, _VLLM)
    if own is _SCORE:
        return own
    if asked is not None:
        if asked not in _BY_NAME:
            raise BadInput(f"dialect must be one of {', '.join(NAMES)}", param="dialect")
        return _BY_NAME[asked]
    if own is _COHERE2 and prefix in {"", *_COHERE1.prefixes}:
        return own
    if prefix:
        return _BY_PREFIX[prefix]
    for dialect in _SIGNED if body else ():
        if dialect.is_told_by(body):
            return dialect
    return own


def shown_on(route: str) -> tuple[Dialect, ...]:
    """The dialects that a description of the route shows: its own; where a body may tell, all that it may give away."""
    own = _BY_ROUTE[route]
    return (own, *_SIGNED) if own is _VLLM else (own,)
