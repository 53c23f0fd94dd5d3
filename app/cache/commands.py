"""What is asked of Redis, and by which commands: look pairs up, write them, exchange generations and names."""

import asyncio
from collections.abc import Mapping, Sequence

from app.cache.line import Line
from app.cache.outbox import Entry
from app.cache.records import (
    GENERATIONS,
    MOST_GENERATIONS,
    Known,
    generations_in,
    key_of,
    known_in,
    names_in,
    names_key_of,
    names_value_of,
)
from app.work import Fingerprint

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
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    pieces = [digests[start : start + _PAIRS_PER_QUESTION] for start in range(0, len(digests), _PAIRS_PER_QUESTION)]
    async with asyncio.timeout(within_s):
        answers = [await line.send("MGET", *map(key_of, piece)) for piece in pieces]
    found: list[Known | None] = []
    for piece, answer in zip(pieces, answers, strict=True):
        # Unlike a limit that cancels, this one leaves an answer that is there when this process was late itself.
        await asyncio.wait([answer], timeout=max(0.0, until - loop.time()))
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
    count = await line.ask("HLEN", GENERATIONS)
    if not isinstance(count, int) or count > MOST_GENERATIONS:
        raise ValueError("it holds generations of more models than there can be")
    return generations_in(await line.ask("HGETALL", GENERATIONS))


async def tell(line: Line, newer: Mapping[str, int]) -> None:
    """Tell other replicas of generations.

    Raises:
        ResponseError: the server refuses.
        RedisError: the line is lost.
    """
    parts = [part for model, number in newer.items() for part in (model, number)]
    await line.ask("HSET", GENERATIONS, *parts)


async def names(line: Line, marks: Sequence[Fingerprint]) -> dict[Fingerprint, Sequence[str]]:
    """What replicas call the weights of each fingerprint, which is without them.

    Raises:
        ValueError: something else came.
        RedisError: the server refuses, or the line is lost.
    """
    answer = await line.ask("MGET", *map(names_key_of, marks)) if marks else []
    return dict(zip(marks, names_in(answer, len(marks)), strict=True))


async def tell_names(line: Line, names: Mapping[Fingerprint, Sequence[str]], *, ttl_s: int) -> None:
    """Tell other replicas of names, which are kept for `ttl_s`.

    Raises:
        ResponseError: the server refuses.
        RedisError: the line is lost.
    """
    for mark, listed in names.items():
        await line.ask("SET", names_key_of(mark), names_value_of(listed), "EX", ttl_s)
