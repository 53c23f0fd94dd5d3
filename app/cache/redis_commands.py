"""The Redis commands by which replicas exchange generations, names of weights and model checks.

All raise ResponseError when the server refuses, RedisError when the connection is lost, and those that read ValueError
when something else than expected comes. Their caller limits their time.
"""

from collections.abc import Mapping, Sequence

from app.cache import redis_codec
from app.cache.redis_cluster import RedisCluster
from app.cache.redis_connection import RedisConnection
from app.policy.check_verdict import CheckResult
from app.types import Fingerprint

# Longer than any replica runs: a result about the same weights stays true.
_RESULT_TTL_S = 30 * 24 * 3600
Redis = RedisConnection | RedisCluster


async def read_generations(connection: Redis) -> dict[str, int]:
    """The generations of models that replicas have written."""
    count = await connection.ask("HLEN", redis_codec.GENERATIONS)
    if not isinstance(count, int) or count > redis_codec.MOST_GENERATIONS:
        raise ValueError("it holds generations of more models than there can be")
    return redis_codec.generations_in(await connection.ask("HGETALL", redis_codec.GENERATIONS))


async def write_generations(connection: Redis, newer: Mapping[str, int]) -> None:
    """Tell other replicas of generations."""
    await connection.ask("HSET", redis_codec.GENERATIONS, *(part for item in newer.items() for part in item))


async def read_names(connection: Redis, fingerprints: Sequence[Fingerprint]) -> dict[Fingerprint, Sequence[str]]:
    """The names that replicas have for the weights of each fingerprint, given without weights."""
    answer = await _values_of(connection, [redis_codec.names_key_of(one) for one in fingerprints])
    return dict(zip(fingerprints, redis_codec.names_in(answer, len(fingerprints)), strict=True))


async def write_names(connection: Redis, names: Mapping[Fingerprint, Sequence[str]], *, ttl_s: int) -> None:
    """Tell other replicas of names, which are kept for `ttl_s`."""
    for fingerprint, listed in names.items():
        await connection.ask(
            "SET", redis_codec.names_key_of(fingerprint), redis_codec.names_value_of(listed), "EX", ttl_s
        )


async def read_results(connection: Redis, fingerprints: Sequence[Fingerprint]) -> dict[Fingerprint, CheckResult | None]:
    """What replicas have found about each fingerprint."""
    answer = await _values_of(connection, [redis_codec.result_key_of(one) for one in fingerprints])
    return dict(zip(fingerprints, redis_codec.results_in(answer, len(fingerprints)), strict=True))


async def write_results(connection: Redis, results: Mapping[Fingerprint, CheckResult]) -> None:
    """Tell other replicas what was found."""
    for fingerprint, result in results.items():
        key, value = redis_codec.result_key_of(fingerprint), redis_codec.result_value_of(result)
        await connection.ask("SET", key, value, "EX", _RESULT_TTL_S)


async def _values_of(connection: Redis, keys: Sequence[bytes]) -> object:
    return await (await connection.get_all(keys)) if keys else []
