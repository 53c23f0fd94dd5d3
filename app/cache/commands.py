"""What is asked of Redis, and by which commands: look pairs up, write them, exchange generations."""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter

from app.cache.line import Line
from app.cache.outbox import Entry
from app.cache.records import GENERATIONS, Known, generations_in, key_of, known_in

# Reading the values of so many takes less than 1 ms, during which nothing else is done.
_PAIRS_PER_QUESTION = 1000
# One SET per pair costs the client 9 us, this script 1 us.
_SET_ALL = "for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end"


async def look_up(line: Line, digests: Sequence[bytes], *, within_s: float) -> list[Known | None]:
    """What can be had in time: the values of all pairs, or of the first ones where there are thousands.

    Raises:
        TimeoutError: nothing came in time.
        ValueError: something else came.
        RedisError: the server refuses, or the line is lost.
    """
    until = perf_counter() + within_s
    pieces = [digests[start : start + _PAIRS_PER_QUESTION] for start in range(0, len(digests), _PAIRS_PER_QUESTION)]
    async with asyncio.timeout(within_s):
        answers = [await line.send("MGET", *map(key_of, piece)) for piece in pieces]
    found: list[Known | None] = []
    for piece, answer in zip(pieces, answers, strict=True):
        # Unlike a limit that cancels, this one leaves an answer that is there when this process was late itself.
        await asyncio.wait([answer], timeout=max(0.0, until - perf_counter()))
        if not answer.done():
            break
        found += known_in(answer.result(), piece)
    if not found:
        raise TimeoutError
    return found + [None] * (len(digests) - len(found))


async def write(line: Line, entries: Sequence[Entry], *, ttl_s: int) -> None:
    """Keep the entries for `ttl_s`.

    Raises:
        ResponseError: the server refuses.
        RedisError: the line is lost.
    """
    keys, values = zip(*entries, strict=True)
    await line.ask("EVAL", _SET_ALL, len(keys), *keys, ttl_s, *values)


async def generations(line: Line) -> dict[str, int]:
    """What replicas have told of the models' generations.

    Raises:
        ValueError: something else came.
        RedisError: the server refuses, or the line is lost.
    """
    return generations_in(await line.ask("HGETALL", GENERATIONS))


async def tell(line: Line, newer: Mapping[str, int]) -> None:
    """Tell other replicas of generations.

    Raises:
        ResponseError: the server refuses.
        RedisError: the line is lost.
    """
    parts = [part for model, number in newer.items() for part in (model, number)]
    await line.ask("HSET", GENERATIONS, *parts)
