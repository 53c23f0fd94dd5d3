"""Whether answers have just the model's scores."""

import math
from collections.abc import Iterator
from typing import Any

from tests.simulation import texts
from tests.simulation.outcome import Outcome, detection_s
from tests.simulation.readings import was_refused
from tests.simulation.record import Request

_NOWHERE = "no weights at all"


def answers_are_exact(outcome: Outcome) -> Iterator[str]:
    """Each 200 has for every document just what the model gives, all by weights that some worker had meanwhile."""
    for request in outcome.record.requests:
        if request.status == 200 and "x-rerank-degraded" not in request.headers:
            yield from _differences(outcome, request)


def _differences(outcome: Outcome, request: Request) -> Iterator[str]:
    scores = _scores(request)
    if scores is None or len(scores) != len(request.documents) or {*map(type, scores)} != {float}:
        yield f"the answer to {request.id} has no score for each of its {len(request.documents)} documents"
        return
    unscored = _unscored(outcome, request, scores)
    readable = [place for place in range(len(scores)) if place not in unscored]
    if any(texts.UNREADABLE in request.documents[place] for place in readable):
        yield f"{request.id} has scores for documents that no worker scores"
        return
    if unscored:
        if outcome.settings.document_errors == "error" or not readable:
            yield f"{request.id} was answered though documents of it have no score"
            return
        if any(scores[place] != min(scores) for place in unscored):
            yield f"a document of {request.id} that no worker scores has another score than the lowest"
        if not was_refused(outcome, request) and any(
            texts.UNREADABLE not in request.documents[one] for one in unscored
        ):
            yield f"{request.id} has documents without a score, though no worker refused any"
    wrong: dict[int, list[int]] = {}
    for weights in _weights_meanwhile(outcome, request):
        wrong[weights] = [place for place in readable if scores[place] not in _right_scores(request, weights, place)]
        if all(_is_tainted(outcome, request, scores, place) for place in wrong[weights]):
            return
    best = min(wrong, key=lambda weights: len(wrong[weights]))
    yield (
        f"{len(wrong[best])} of the {len(scores)} scores of {request.id} aren't those of weights {best}, which fit "
        f"best; the first is of {_origin(outcome, request, scores, wrong[best][0])}"
    )


def _right_scores(request: Request, weights: int, place: int) -> set[float]:
    """What a document may have by these weights: one number, unless it may be cut into passages in two ways."""
    ways = request.ways(request.documents[place])
    return {texts.best_score(weights, request.query, way) for way in ways}


def _unscored(outcome: Outcome, request: Request, scores: list[float]) -> set[int]:
    """The places of documents of which the answer says that no worker would score them; /v1/score can't say so."""
    if request.ask.route == "/v1/score":
        lowest = min(scores)
        may_be_unscored = outcome.settings.document_errors == "lowest" and was_refused(outcome, request)
        return {
            place
            for place, text in enumerate(request.documents)
            if texts.UNREADABLE in text
            or (may_be_unscored and scores[place] == lowest and _origin(outcome, request, scores, place) == _NOWHERE)
        }
    warnings: list[str] = request.body.get("meta", {}).get("warnings", [])
    return {int(warning.partition("[")[2].partition("]")[0]) for warning in warnings}


def _is_tainted(outcome: Outcome, request: Request, scores: list[float], place: int) -> bool:
    """Whether a score may be another weights': nobody could know of them when they were used."""
    return any(
        (weights, request.query, text) in outcome.record.tainted
        and scores[place] == texts.score(weights, request.query, text)
        for weights in {spell.weights for spell in outcome.record.spells}
        for way in request.ways(request.documents[place])
        for text in way
    )


def _origin(outcome: Outcome, request: Request, scores: list[float], place: int) -> str:
    for weights in sorted({spell.weights for spell in outcome.record.spells}):
        if scores[place] in _right_scores(request, weights, place):
            return f"weights {weights}"
    return _NOWHERE


def _weights_meanwhile(outcome: Outcome, request: Request) -> list[int]:
    """The weights that some worker of the model had during the request, or so lately that nobody could know better."""
    since = request.began - detection_s(outcome.settings)
    spells = [spell for spell in outcome.record.spells if request.ask.model in spell.models]
    found = []
    for place, spell in enumerate(spells):
        ended = next((later.since for later in spells[place + 1 :] if later.worker == spell.worker), math.inf)
        if spell.since <= request.ended and ended >= since:
            found.append(spell.weights)
    return sorted(set(found))


def _scores(request: Request) -> list[float] | None:
    body: Any = request.body
    try:
        if request.ask.route == "/v1/score":
            return [row["score"] for row in body["data"]]
        by_index = {row["index"]: row["relevance_score"] for row in body["results"]}
        return [by_index[place] for place in range(len(body["results"]))]
    except (KeyError, TypeError):
        return None
