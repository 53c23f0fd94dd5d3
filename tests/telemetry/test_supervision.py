"""Tasks that are to go on for ever do, whatever goes wrong in them, and never unseen: on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from structlog.testing import capture_logs

from app.telemetry.metrics import Metrics
from app.telemetry.supervision import supervised
from app.workers.discovery.source import Endpoints
from tests.virtual import ScriptedLink, ScriptedSource, engine, now, on_virtual_clock, right_scores, score

DOCUMENTS = ["a", "b"]


def _failures(metrics: Metrics, task: str) -> float | None:
    return metrics.registry.get_sample_value("rerank_task_failures_total", {"task": task})


def _failed(logged: list[Any]) -> list[str]:
    return [line["task"] for line in logged if line["event"] == "task_failed"]


@on_virtual_clock
async def test_work_that_fails_is_begun_anew_after_a_pause_until_it_ends():
    metrics, began = Metrics(), []
    told: list[BaseException] = []

    async def work() -> None:
        began.append(now())
        if len(began) < 4:
            raise KeyError("a" if len(began) < 3 else "b")

    with capture_logs() as logged:
        await supervised("history", work, metrics=metrics, failed=told.append)
    assert [at - began[0] for at in began] == [0, 1, 2, 3]
    assert _failures(metrics, "history") == 3
    assert _failed(logged) == ["history"] * 2, "the same again is told once"
    assert all(line["exc_info"] for line in logged)
    assert [str(one) for one in told] == ["'a'", "'a'", "'b'"]


@on_virtual_clock
async def test_a_mistake_that_looks_like_a_cancellation_is_one():
    metrics, began = Metrics(), []

    async def work() -> None:
        began.append(1)
        if len(began) == 1:
            raise asyncio.CancelledError

    await supervised("history", work, metrics=metrics)
    assert _failures(metrics, "history") == 1


@on_virtual_clock
async def test_work_that_is_cancelled_ends_at_once():
    metrics = Metrics()
    task = asyncio.create_task(supervised("history", lambda: asyncio.sleep(100), metrics=metrics))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert not _failures(metrics, "history")


class Unclosable(ScriptedLink):
    async def close(self) -> None:
        raise RuntimeError(self.name)


@on_virtual_clock
async def test_a_worker_whose_connections_cannot_be_closed_is_gone_all_the_same():
    source = ScriptedSource()
    with capture_logs() as logged:
        async with engine(
            [Unclosable("a"), ScriptedLink("b")], search=lambda *_: [source], fails={"worker_close"}
        ) as made:
            await source.show("a", "b")
            await source.show("b")
            assert 'worker="a"' not in made.metrics.render_at_once().decode()
            assert _failures(made.metrics, "worker_close") == 1
    assert _failed(logged) == ["worker_close"]


class Moody(ScriptedSource):
    """Fails between the things it sees."""

    async def watch(self) -> AsyncIterator[Endpoints]:
        yield await self._seen.get()
        raise OverflowError


@on_virtual_clock
async def test_a_source_that_fails_is_asked_again():
    source = Moody()
    async with engine([ScriptedLink("a"), ScriptedLink("b")], search=lambda *_: [source], fails={"discovery"}) as made:
        await source.show("a")
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        await source.show("b")
        await asyncio.sleep(1)
        assert [worker.name for worker in made.registry.workers] == ["b"]
        assert _failures(made.metrics, "discovery") == 2


@on_virtual_clock
async def test_a_change_that_was_interrupted_is_made_when_the_search_begins_anew():
    source = ScriptedSource()
    async with engine([ScriptedLink("a"), ScriptedLink("b")], search=lambda *_: [source], fails={"discovery"}) as made:
        mistakes = [KeyError("a")]

        def watcher() -> None:
            if mistakes:
                raise mistakes.pop()

        made.registry.on_change(watcher)
        await source.show("a", "b")
        await asyncio.sleep(1.1)
        assert [worker.is_usable for worker in made.registry.workers] == [True, True]
