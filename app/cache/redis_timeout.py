"""The time limit of lookups in Redis: no request waits for it longer than RERANK_REDIS_TIMEOUT_S."""

import asyncio
from collections.abc import Sequence

from app.cache.redis_codec import Known, key_of, known_in
from app.cache.redis_commands import Redis

# Reading the values of so many takes less than 1 ms, during which nothing else is done.
_PAIRS_PER_COMMAND = 1000


async def look_up(connection: Redis, digests: Sequence[bytes], *, within_s: float) -> list[Known | None]:
    """The values of the pairs, as far as they come in time: of thousands, perhaps only the first ones.

    Raises:
        TimeoutError: nothing came in time.
        ValueError: something else came.
        RedisError: the server refuses, or the connection is lost.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    pieces = [digests[start : start + _PAIRS_PER_COMMAND] for start in range(0, len(digests), _PAIRS_PER_COMMAND)]
    async with asyncio.timeout(within_s):
        answers = [await connection.get_all([*map(key_of, piece)]) for piece in pieces]
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
