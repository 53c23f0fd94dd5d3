"""Several pieces of work at once: how they end."""

import asyncio

import pytest

from app.aio import in_parallel
from app.errors import FingerprintGone, Unreachable
from tests.virtual import on_virtual_clock


async def _after(seconds: float, result: object) -> object:
    await asyncio.sleep(seconds)
    if isinstance(result, Exception):
        raise result
    return result


@on_virtual_clock
async def test_results_come_in_the_order_of_the_works():
    assert await in_parallel([_after(2, "a"), _after(1, "b"), _after(0, "c")]) == ["a", "b", "c"]
    assert await in_parallel([_after(1, "alone")]) == ["alone"]


@on_virtual_clock
async def test_the_first_failure_ends_the_others_and_goes_alone():
    ended = []

    async def until_cancelled() -> object:
        try:
            return await _after(100, "never")
        finally:
            ended.append(asyncio.get_running_loop().time())

    began = asyncio.get_running_loop().time()
    with pytest.raises(Unreachable):
        await in_parallel([until_cancelled(), _after(1, Unreachable("w")), until_cancelled()])
    assert ended == [began + 1] * 2


@on_virtual_clock
async def test_of_failures_at_once_the_one_after_which_the_whole_can_succeed_goes_first():
    with pytest.raises(FingerprintGone):
        await in_parallel([_after(1, Unreachable("w")), _after(1, FingerprintGone()), _after(1, Unreachable("w"))])


@on_virtual_clock
async def test_time_limits_of_whoever_saw_a_failure_still_raise_timeouts():
    """A task that counts as cancelled gets the CancelledError that a time limit works with."""
    task = asyncio.current_task()
    assert task is not None
    for exception in (Unreachable("w"), FingerprintGone()):
        with pytest.raises(type(exception)):
            await in_parallel([_after(1, "a"), _after(0.5, exception)])
        assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)


@on_virtual_clock
async def test_who_is_cancelled_meanwhile_takes_all_with_it():
    began = asyncio.get_running_loop().time()
    whole = asyncio.create_task(in_parallel([_after(100, "a"), _after(100, "b")]))
    await asyncio.sleep(1)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert asyncio.get_running_loop().time() == began + 1
