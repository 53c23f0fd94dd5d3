"""Probes: who is found to hang before a client meets it, who is well again, and whose weights have changed."""

import asyncio
from itertools import pairwise

from app.errors import Busy, Unreachable
from tests.virtual import ScriptedLink, elapsed, engine, now, on_virtual_clock, right_scores, score

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_a_hung_worker_that_wakes_up_serves_within_a_few_seconds():
    link = ScriptedLink("w", problem=None)
    other = ScriptedLink("other", problem=Unreachable("other is down"))
    async with engine([link, other]) as made:
        made.prober.mark_failing(made.registry.workers[0], Unreachable("w"))
        link.hangs = True
        await asyncio.sleep(10)
        assert not made.registry.workers[0].is_usable
        link.hangs = False
        await asyncio.sleep(8)
        assert made.registry.workers[0].is_usable


@on_virtual_clock
async def test_an_idle_worker_that_hangs_is_found_before_a_client_meets_it():
    link = ScriptedLink("w")
    async with engine([link, ScriptedLink("good")], probe_interval_s=10, probe_timeout_s=5) as made:
        link.hangs = True
        await asyncio.sleep(20)
        assert not made.registry.workers[0].is_usable
        assert await elapsed(score(made, DOCUMENTS)) < 0.1


@on_virtual_clock
async def test_a_busy_worker_is_not_condemned_by_its_queue():
    link = ScriptedLink("w", takes_s=20)
    async with engine([link], probe_interval_s=1, probe_timeout_s=0.5) as made:
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(0.5)
        link.hangs_probes = True
        await asyncio.sleep(15)
        assert made.registry.workers[0].is_usable
        await asked


@on_virtual_clock
async def test_new_weights_under_an_old_name_are_a_new_fingerprint():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links, probe_interval_s=5) as made:
        before = [worker.serves["m"] for worker in made.registry.workers]
        assert before[0] == before[1]
        links[1].shift = 0.01
        await asyncio.sleep(15)
        assert made.registry.workers[1].serves["m"] == before[1]
        links[1].shift = 0.2
        await asyncio.sleep(15)
        assert made.registry.workers[0].serves["m"] == before[0]
        assert made.registry.workers[1].serves["m"] != before[1]


@on_virtual_clock
async def test_a_good_probe_ends_a_back_off_and_who_waits_is_served():
    link = ScriptedLink("w")
    async with engine([link], max_queue_wait_s=100, probe_interval_s=10) as made:
        link.problem = Busy("w", retry_after_s=3600)
        asked = asyncio.create_task(score(made, DOCUMENTS, within_s=60))
        await asyncio.sleep(20)
        assert not asked.done()
        link.problem = None
        assert await elapsed(asked) <= 12 + 1


@on_virtual_clock
async def test_a_worker_that_tells_probes_that_it_is_busy_backs_off_and_stays_in_use():
    link = ScriptedLink("w")
    async with engine([link], probe_interval_s=10) as made:
        (worker,) = made.registry.workers
        link.problem = Busy("w", retry_after_s=7)
        for _ in range(100):
            await asyncio.sleep(1)
            assert worker.is_usable
        assert worker.backs_off_until > now() - 12
        link.problem = None
        await asyncio.sleep(12)
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_a_worker_in_doubt_that_says_it_is_busy_is_still_in_doubt():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        link.problem = Busy("w")
        made.prober.mark_failing(made.registry.workers[0], Unreachable("w"))
        for _ in range(20):
            await asyncio.sleep(1)
            assert not made.registry.workers[0].is_usable


@on_virtual_clock
async def test_of_very_many_workers_a_few_are_probed_at_once_and_all_in_the_end():
    links = [ScriptedLink(f"w{number}", probes_take_s=0.01) for number in range(600)]
    async with engine(links, probe_interval_s=1) as made:
        asked = [0]
        for _ in range(100):
            await asyncio.sleep(0.1)
            asked.append(sum(link.asked for link in links))
        assert all(worker.is_usable for worker in made.registry.workers)
        made.prober.suspend(made.registry.workers[0], Unreachable("w0"))
        await asyncio.sleep(0.2)
        assert made.registry.workers[0].is_usable
    assert max(later - earlier for earlier, later in pairwise(asked)) <= 50 + 25
    # 600 times a second would be too often; each has its turn all the same.
    assert min(link.asked for link in links) >= 2
