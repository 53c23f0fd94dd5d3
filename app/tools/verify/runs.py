"""The runs: the sample unsplit, again, shuffled, among other texts, alone, and split into chunks of several sizes."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import product
from random import Random
from time import perf_counter

from app.aio import in_parallel
from app.policy.merge import merge
from app.tools.verify.compare import Comparison, Measured, Scores, Split, compare, worst
from app.tools.verify.sample import Sample
from app.tools.verify.scorer import Scorer
from app.types import Answer, Pairs, Side

_ROUNDS = 3
_SMALLEST_CHUNK = 8
# A call per document takes ten times as long as one for all: a few of each list say as much.
_ALONE_PER_LIST = 32
_ALONE_AT_ONCE = 8
# Four chunks of the default size, as the gateway has them in flight on a worker that serves several requests.
_DOCUMENTS_IN_FLIGHT = 256
_LEAST_CALLS_IN_FLIGHT = 2
# With fewer words there are no two between the first and the last that could change places.
_LEAST_WORDS = 4


def sizes(sample: Sample) -> list[int]:
    """The chunk sizes to try: 8, 16, 32 and so on, as far as the longest list goes."""
    doublings = (max(map(len, sample)) // _SMALLEST_CHUNK).bit_length()
    return [_SMALLEST_CHUNK << power for power in range(max(1, doublings))]


def documents_to_score(sample: Sample) -> int:
    """The number of documents that `measure` has scored in all, for a progress bar."""
    whole_runs = 2 * _ROUNDS + 1 + _ROUNDS * len(sizes(sample))
    return sum(whole_runs * len(pairs) + min(len(pairs), _ALONE_PER_LIST) for pairs in sample)


async def measure(scorer: Scorer, sample: Sample, rng: Random) -> Measured:
    """The measurements of one worker, which scores the sample in all ways.

    Args:
        scorer: The worker.
        sample: Lists of documents with a query each.
        rng: Randomness for shuffling.

    Raises:
        WorkerError, BadInput: as `Scorer.score`.
    """
    first, *repeats = [await _unsplit(scorer, sample) for _ in range(_ROUNDS)]
    unsplit = _scores(first)
    return Measured(
        worker=scorer.link.name,
        fingerprint=scorer.fingerprint,
        unsplit=unsplit,
        repeated=worst(compare(unsplit, _scores(again)) for again in repeats),
        shuffled=compare(unsplit, await _shuffled(scorer, sample, rng)),
        neighbours=await _among_others(scorer, sample, [first, *repeats]),
        alone=await _alone(scorer, sample, unsplit),
        splits=await _splits(scorer, sample, unsplit),
    )


async def _unsplit(scorer: Scorer, sample: Sample) -> list[Answer]:
    """The answers to one call per list, one after the other, so that each is alone on the worker."""
    return [await scorer.score(pairs) for pairs in sample]


async def _shuffled(scorer: Scorer, sample: Sample, rng: Random) -> Scores:
    orders = [rng.sample(range(len(pairs)), len(pairs)) for pairs in sample]
    answers = await _unsplit(scorer, [pairs.take(order) for pairs, order in zip(sample, orders, strict=True)])
    return [merge([(order, answer)], len(order)).scores for order, answer in zip(orders, answers, strict=True)]


async def _among_others(scorer: Scorer, sample: Sample, unsplit: Sequence[Sequence[Answer]]) -> Comparison | None:
    """The change in scores of every other document when the texts between them change.

    The new texts are the old ones with their words in another order, so that the calls have the same shape: where the
    tokens are as many as before, a model that scores each document by itself has no reason to answer otherwise. The
    smallest difference counts, since what a worker does beside may change the shape now and then.
    """
    altered = [Pairs(pairs.queries, _with_words_reversed(pairs.documents)) for pairs in sample]
    found = []
    for _ in range(_ROUNDS):
        answers = await _unsplit(scorer, altered)
        for before in unsplit:
            kept = [
                (old.scores[::2], new.scores[::2])
                for pairs, other, old, new in zip(sample, altered, before, answers, strict=True)
                if old.tokens == new.tokens > 0 and pairs.documents != other.documents
            ]
            if kept:
                found.append(compare([old for old, _ in kept], [new for _, new in kept]))
    return min(found, key=lambda comparison: comparison.largest, default=None)


async def _alone(scorer: Scorer, sample: Sample, unsplit: Scores) -> Comparison:
    few = [pairs.take(range(min(len(pairs), _ALONE_PER_LIST))) for pairs in sample]
    chunks = [[[place] for place in range(len(pairs))] for pairs in few]
    scores = await _in_chunks(scorer, few, chunks, calls=_ALONE_AT_ONCE)
    return compare([one[:_ALONE_PER_LIST] for one in unsplit], scores)


async def _splits(scorer: Scorer, sample: Sample, unsplit: Scores) -> Mapping[int, Split]:
    """The measurements of each chunk size. Sizes take turns, so that other load on the machine affects all alike."""
    rounds: dict[int, list[tuple[Comparison, float]]] = {size: [] for size in sizes(sample)}
    for _, size in product(range(_ROUNDS), rounds):
        calls = max(_LEAST_CALLS_IN_FLIGHT, min(scorer.settings.worker_max_calls, _DOCUMENTS_IN_FLIGHT // size))
        chunks = [scorer.pieces(pairs, size) for pairs in sample]
        began = perf_counter()
        scores = await _in_chunks(scorer, sample, chunks, calls=calls)
        took_s = perf_counter() - began
        comparison = compare(unsplit, scores)
        rounds[size].append((comparison, comparison.documents / took_s))
    return {
        size: Split(worst(found for found, _ in each), [speed for _, speed in each]) for size, each in rounds.items()
    }


async def _in_chunks(
    scorer: Scorer, sample: Sample, chunks: Sequence[Sequence[Sequence[int]]], *, calls: int
) -> Scores:
    """The scores of all lists, each in its chunks, with `calls` calls in flight at most."""
    free = asyncio.Semaphore(calls)

    async def one(pairs: Pairs) -> Answer:
        async with free:
            return await scorer.score(pairs)

    places = [(number, piece) for number, pieces in enumerate(chunks) for piece in pieces]
    answers = await in_parallel([one(sample[number].take(piece)) for number, piece in places])
    parts: list[list[tuple[Sequence[int], Answer]]] = [[] for _ in sample]
    for (number, piece), answer in zip(places, answers, strict=True):
        parts[number].append((piece, answer))
    return [merge(part, len(pairs)).scores for part, pairs in zip(parts, sample, strict=True)]


def _with_words_reversed(documents: Sequence[Side]) -> list[Side]:
    """The documents, texts in odd places with the words between the first and the last in the opposite order."""
    found = list(documents)
    for place in range(1, len(found), 2):
        document = found[place]
        words = document.split(" ") if isinstance(document, str) else []
        if len(words) >= _LEAST_WORDS:
            found[place] = " ".join([words[0], *words[-2:0:-1], words[-1]])
    return found


def _scores(answers: Sequence[Answer]) -> Scores:
    return [answer.scores for answer in answers]
