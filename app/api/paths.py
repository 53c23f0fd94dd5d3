"""Which route a path means: its end decides, whatever a client's base URL, an ingress or Milvus put before it.

    /voyage/models/BAAI/bge/v1/rerank
     ------ ------ -------- ---------
     a dialect     a model   the end: with the last v1 or v2 before it, a route

The dialect is a first segment that is one of `dialects.PREFIXES`, for clients that can carry neither query string nor
field. All other segments are ignored.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from app.api import dialects

MODELS, INFO = "/v1/models", "/info"
# First segments that belong to operators and to people.
_NOT_OURS = frozenset({"admin", "docs", "ui"})
_VERSIONS = frozenset({"v1", "v2"})
# Longer paths are read anew each time: clients choose them, and what is remembered takes memory.
_REMEMBERED = 1024
_LONGEST_REMEMBERED = 200


class Destination(NamedTuple):
    """What a path means.

    Attributes:
        route: The one route of several with the same meaning that log, metrics and traces name.
        prefix: The dialect's name or another of `dialects.PREFIXES`; empty without one.
        model: The model's name; empty without one.
    """

    route: str
    prefix: str = ""
    model: str = ""


def _without_version(route: str) -> tuple[str, ...]:
    segments = route.strip("/").split("/")
    return tuple(segments[1:] if segments[0] in _VERSIONS else segments)


_ENDINGS = tuple(dict.fromkeys(_without_version(route) for route in dialects.ROUTES))
# For people: what the path of a request that scores ends in.
ENDINGS = tuple("/".join(ending) for ending in _ENDINGS)


def read(method: str, path: str) -> Destination | None:
    """The destination of a request; None where the path is to be taken as it is."""
    return _remembered(method, path) if len(path) <= _LONGEST_REMEMBERED else _read(method, path)


def scoring(path: str) -> Destination | None:
    """The destination of a path among the routes that score."""
    prefix, segments = _split(path)
    ending = next((one for one in _ENDINGS if tuple(segments[-len(one) :]) == one), None)
    if ending is None:
        return None
    version, model = _version_and_model(segments[: -len(ending)])
    end = "/" + "/".join(ending)
    possible = (f"/{version}{end}", end, f"/v1{end}")
    return Destination(next(route for route in possible if route in dialects.ROUTES), prefix, model)


def about_models(path: str) -> Destination | None:
    """The destination of a path among the routes that tell of models: `/info`, `/v1/models` and `/v1/models/NAME`."""
    prefix, segments = _split(path)
    places = [place for place, one in enumerate(segments) if one == "models"]
    versioned = [place for place in places if place and segments[place - 1] == "v1"]
    if versioned == [1] or (versioned and segments[-1] != "info"):
        return Destination("/".join([MODELS, *segments[versioned[-1] + 1 :]]), prefix)
    if segments[-1:] == ["info"]:
        return Destination(INFO, prefix, _version_and_model(segments[:-1])[1])
    return Destination("/".join([MODELS, *segments[places[0] + 1 :]]), prefix) if places else None


def prefix_of(path: str) -> str:
    """The first segment of a path, if it is one of `dialects.PREFIXES`; else nothing."""
    return _split(path)[0]


def _read(method: str, path: str) -> Destination | None:
    if method == "POST":
        return scoring(path)
    return about_models(path) if method == "GET" else None


_remembered = lru_cache(maxsize=_REMEMBERED)(_read)


def _split(path: str) -> tuple[str, list[str]]:
    """The prefix, and the segments behind it: none where the path isn't ours to read."""
    segments = [segment for segment in path.split("/") if segment]
    if not segments or segments[0] in _NOT_OURS:
        return "", []
    if segments[0] in dialects.PREFIXES:
        return segments[0], segments[1:]
    return "", segments


def _version_and_model(before: Sequence[str]) -> tuple[str, str]:
    """The version and the model in the segments before an ending.

    A model's name goes on to the ending, or to the version before it, since it may hold slashes.
    """
    place = before.index("models") if "models" in before else len(before)
    name, behind = list(before[place + 1 :]), []
    while len(name) > 1 and name[-1] in _VERSIONS:
        behind.append(name.pop())
    versions = (segment for segment in (*behind, *reversed(before[:place])) if segment in _VERSIONS)
    return next(versions, ""), "/".join(name)
