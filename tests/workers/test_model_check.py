import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.assembly import Assembly
from app.errors import Busy, NotFinite, SuspectModel
from app.policy.check_verdict import CheckResult
from app.policy.model_profile import Traits
from app.settings import ModelSettings, Settings
from app.telemetry.metrics.catalog.workers import SUSPECT
from app.types import Answer, Pairs
from tests.virtual import ScriptedLink, engine, on_virtual_clock, score

RIGHT = CheckResult(learned=Traits(kind="cross_encoder", truncation="pair", score_scale="probability"), kept=4, asked=4)


@dataclass
class OneLane(ScriptedLink):
    """A worker that scores one document after the other, whoever asks, a tenth of a second each."""

    lane: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def score(self, model: str, pairs: Pairs, fields: Mapping[str, Any], *, request_id: str) -> Answer:
        async with self.lane:
            await asyncio.sleep(0.1 * len(pairs))
        return await super().score(model, pairs, fields, request_id=request_id)


def result_of(made: Assembly) -> CheckResult | None:
    (worker,) = made.registry.workers
    return made.profiles.result_about(worker.serves["m"])


def suspect(made: Assembly, reason: str, model: str = "m") -> float | None:
    return made.metrics.registry.get_sample_value("rerank_model_suspect", {"model": model, "reason": reason})


@on_virtual_clock
async def test_a_model_is_checked_when_it_is_first_seen_and_never_again():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        await asyncio.sleep(0.01)
        assert result_of(made) == RIGHT
        assert sum(len(call.pairs) for call in link.checks) == 24
        assert suspect(made, "order") == 0
        link.problem = Busy("w restarts")
        await asyncio.sleep(60)
        link.problem = None
        await asyncio.sleep(3600)
        assert sum(len(call.pairs) for call in link.checks) == 24


@on_virtual_clock
async def test_no_call_of_a_check_is_larger_than_the_largest_chunk():
    link = ScriptedLink("w")
    async with engine([link], max_batch=1, min_batch=1) as made:
        await asyncio.sleep(0.01)
        assert {len(call.pairs) for call in link.checks} == {1}
        assert result_of(made) == RIGHT


@on_virtual_clock
async def test_a_check_waits_until_its_worker_is_idle():
    link = ScriptedLink("w", takes_s=3.0, probes_take_s=0.05)
    async with engine([link]) as made:
        await asyncio.sleep(0.05)
        waits = asyncio.create_task(score(made, ["d"]))
        await asyncio.sleep(2.9)
        assert len(link.checks) <= 1
        await waits
        await asyncio.sleep(1)
        assert result_of(made)


@on_virtual_clock
async def test_a_worker_that_is_always_busy_is_checked_where_it_has_room():
    link = ScriptedLink("w", takes_s=1000.0)
    async with engine([link], deadline_s=2000) as made:
        busy = asyncio.create_task(score(made, ["d"], within_s=1500))
        await asyncio.sleep(200)
        assert result_of(made)
        assert not busy.done()
        await busy


@on_virtual_clock
async def test_a_check_that_does_not_end_is_tried_again_later_and_later():
    link = ScriptedLink("w", hangs_checks=True)
    async with engine([link]) as made:
        await asyncio.sleep(0.5)
        assert (await score(made, ["d"])).scores
        assert result_of(made) is None
        link.hangs_checks = False
        await asyncio.sleep(8)
        assert result_of(made)


@on_virtual_clock
async def test_a_check_keeps_no_probe_waiting_at_a_slow_worker_and_ends_in_several_goes():
    link = OneLane("w")
    async with engine([link], probe_interval_s=0.3, probe_timeout_s=0.5) as made:
        (worker,) = made.registry.workers
        await asyncio.sleep(0.5)
        for _ in range(300):
            await asyncio.sleep(0.1)
            assert worker.is_usable
        assert result_of(made) == RIGHT
        assert sum(len(call.pairs) for call in link.checks) == 24


@on_virtual_clock
async def test_no_call_of_a_check_takes_longer_than_half_of_a_probe_may():
    link = ScriptedLink("w", hangs_checks=True)
    async with engine([link], probe_timeout_s=0.5) as made:
        await asyncio.sleep(0.01)
        (worker,) = made.registry.workers
        assert worker.own_call.locked()
        await asyncio.sleep(0.25)
        assert not worker.own_call.locked()


@on_virtual_clock
async def test_the_model_serves_while_it_is_checked_and_until_it_is_found_suspect():
    link = ScriptedLink("w", reverses=True)
    async with engine([link]) as made:
        await asyncio.sleep(0.01)
        assert result_of(made) == CheckResult(suspicion="order", kept=0, asked=8)
        assert (suspect(made, "order"), suspect(made, "constant")) == (1, 0)
        assert (await score(made, ["d"])).scores


@on_virtual_clock
async def test_a_suspect_model_is_refused_with_its_fix_where_the_settings_say_so():
    link = ScriptedLink("w", reverses=True)
    async with engine([link], suspect_models="refuse") as made:
        await asyncio.sleep(0.01)
        with pytest.raises(SuspectModel, match=r"m is served wrongly: .*--chat-template") as refused:
            await score(made, ["d"])
        assert refused.value.status == 503
        assert made.registry.serves_now("m")


@on_virtual_clock
async def test_workers_that_serve_a_model_rightly_go_on_beside_more_that_do_not():
    wrong = [ScriptedLink(name, reverses=True, shift=0.2) for name in "uv"]
    right = ScriptedLink("w")
    async with engine([*wrong, right], suspect_models="refuse") as made:
        await asyncio.sleep(0.01)
        assert suspect(made, "order") == 1
        assert (await score(made, ["d"])).scores
        assert [len(link.calls) for link in (*wrong, right)] == [0, 0, 1]


@on_virtual_clock
async def test_a_suspect_model_is_checked_again_and_may_have_been_mended():
    link = ScriptedLink("w", reverses=True)
    async with engine([link], suspect_models="refuse") as made:
        await asyncio.sleep(0.01)
        link.reverses = False
        await asyncio.sleep(301)
        assert result_of(made) == RIGHT
        assert suspect(made, "order") == 0
        assert (await score(made, ["d"])).scores


@on_virtual_clock
async def test_models_whose_names_are_no_labels_are_shown_as_one():
    links = [ScriptedLink("v", model='m{a="b"}', reverses=True), ScriptedLink("w", model="x" * 201)]
    async with engine(links) as made:
        await asyncio.sleep(0.01)
        assert {sample.labels["model"] for sample in made.metrics.samples(SUSPECT)} == {"other"}
        assert suspect(made, "order", "other") == 1
        assert suspect(made, "constant", "other") == 0


@on_virtual_clock
async def test_models_of_the_settings_are_shown_under_their_own_names_whatever_these_are():
    async with engine([ScriptedLink("w", model="Modell ä")], models={"Modell ä": ModelSettings()}) as made:
        await asyncio.sleep(0.01)
        assert suspect(made, "order", "Modell ä") == 0


@on_virtual_clock
async def test_the_embedded_worker_is_not_checked():
    made = Assembly(Settings())
    async with made.running():
        await asyncio.sleep(0.01)
        (worker,) = made.registry.workers
        assert worker.is_usable
        assert made.profiles.result_about(worker.serves["lexical"]) is None


@on_virtual_clock
async def test_a_model_whose_probe_scores_are_no_numbers_is_suspect_though_no_check_reaches_it():
    link = ScriptedLink("w")
    link.scores_problem = NotFinite("w returned a score that is no finite number")
    async with engine([link]) as made:
        await asyncio.sleep(0.01)
        assert suspect(made, "not_finite") == 1
        link.scores_problem = None
        await asyncio.sleep(20)
        assert result_of(made) == RIGHT
        assert suspect(made, "not_finite") == 0
