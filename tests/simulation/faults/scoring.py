"""Faults of what becomes of a request."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import app.api.body
import app.api.rerank
import app.policy.passages
import app.scoring.attempts
import app.scoring.gateway
import app.scoring.singleflight
from app.types import Answer
from tests.simulation.faults.planted import Planted, nothing


def _coalesced_scores_reversed(right: Any) -> Any:
    def scores(computation: Any) -> dict[bytes, float]:
        found = right(computation)
        return dict(zip(found, reversed(found.values()), strict=True))

    return scores


def _unwanted_computation_goes_on(_: Any) -> Any:
    async def leave(_: Any, waits: Sequence[Any]) -> None:
        for wait in waits:
            wait.computation.waiting -= 1

    return leave


def _failure_spreads_to_coalesced(right: Any) -> Any:
    def scores(computation: Any) -> dict[bytes, float]:
        if not computation.task.cancelled() and (failure := computation.task.exception()):
            raise failure
        return dict(right(computation))

    return scores


def _expand_ignores_positions(_: Any) -> Any:
    def expand(answer: Answer, positions: Sequence[int]) -> Answer:
        size = len(answer.scores)
        return Answer([answer.scores[place % size] for place in range(len(positions))], answer.tokens, answer.refused)

    return expand


def _one_retry_budget_for_all(right: Any) -> Any:
    return lambda attempts, context: right(attempts, replace(context, key="all"))


def _halves_mix_up_places(right: Any) -> Any:
    def merge(parts: Sequence[Any], size: int) -> Answer:
        refused = {place: error for _, answer in parts for place, error in answer.refused.items()}
        merged: Answer = right(parts, size)
        return merged._replace(refused=refused)

    return merge


def _first_passage_counts(right: Any) -> Any:
    def by_document(cut: Any, answer: Answer) -> Answer:
        best: Answer = right(cut, answer)
        return best._replace(scores=[answer.scores[place] for place in cut.begins[:-1]])

    return by_document


def _work_outlives_its_client(_: Any) -> Any:
    async def cancelled_on_disconnect(_: Any, work: Any) -> Any:
        return await work

    return cancelled_on_disconnect


FAULTS: dict[str, Planted] = {
    "coalesced-scores-reversed": Planted(
        "a request that coalesced with a computation gets its scores in reverse",
        app.scoring.gateway,
        "scores_of",
        _coalesced_scores_reversed,
    ),
    "unwanted-computation-goes-on": Planted(
        "a computation that nobody waits for goes on",
        app.scoring.singleflight.Singleflight,
        "leave",
        _unwanted_computation_goes_on,
    ),
    "failure-spreads-to-coalesced": Planted(
        "a computation's failure fails all requests that coalesced with it",
        app.scoring.gateway,
        "scores_of",
        _failure_spreads_to_coalesced,
    ),
    "expand-ignores-positions": Planted(
        "documents that were sent twice shift the scores behind them",
        app.scoring.gateway,
        "expand",
        _expand_ignores_positions,
    ),
    "one-retry-budget-for-all": Planted(
        "one key's failures spend the retries of all",
        app.scoring.attempts.Attempts,
        "_pays_for_retry",
        _one_retry_budget_for_all,
    ),
    "halves-mix-up-places": Planted(
        "refused documents of a second half are named as of the first",
        app.scoring.attempts,
        "merge",
        _halves_mix_up_places,
    ),
    "first-passage-counts": Planted(
        "a long document has the score of its first passage",
        app.policy.passages.PassagePairs,
        "by_document",
        _first_passage_counts,
    ),
    "bytes-stay-charged": Planted("the bytes of a body stay charged", app.api.body.Reservation, "__exit__", nothing),
    "work-outlives-its-client": Planted(
        "a client that leaves leaves its work behind",
        app.api.rerank,
        "cancelled_on_disconnect",
        _work_outlives_its_client,
    ),
}
