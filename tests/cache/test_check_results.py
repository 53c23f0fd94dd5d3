import pytest

from app.cache import redis_codec
from app.cache.check_results import CheckResults
from app.cache.replica_sync import WeightNames
from app.policy.check_verdict import CheckResult
from app.policy.model_profile import Traits
from app.types import Fingerprint
from tests.cache.replica import replica
from tests.cache.valkey import Valkey
from tests.waiting import until, until_it

MODEL = Fingerprint("m", "/models/m", 512, "0.32.0", "", "0.91,0.31,0.12,0.02")
PASSED = CheckResult(
    learned=Traits(kind="template", truncation="document", score_scale="logit"), kept=4, asked=4, unsure_of=("arabic",)
)
SUSPECT = CheckResult(suspicion="order", kept=1, asked=8)


@pytest.mark.parametrize("result", [PASSED, SUSPECT])
def test_a_result_is_read_as_it_was_written(result: CheckResult):
    assert redis_codec.results_in([redis_codec.result_value_of(result), None], 2) == [result, None]


@pytest.mark.parametrize(
    "value",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"learned": {}}',
        b'{"learned": {"kind": "generative"}, "unsure_of": []}',
        b'{"learned": {"kind": ["template"]}, "unsure_of": []}',
        b'{"learned": {}, "unsure_of": [], "suspicion": "mood"}',
        b'{"learned": {}, "unsure_of": [], "kept": -1}',
        b'{"learned": {}, "unsure_of": [1]}',
        b'{"learned": {}, "unsure_of": [], "more": 1}',
        b'{"learned": {}, "unsure_of": ["' + b"x" * 2000 + b'"]}',
    ],
)
def test_what_no_replica_can_have_written_is_no_result(value: bytes):
    assert redis_codec.results_in([value], 1) == [None]


def test_an_answer_to_another_question_is_an_error():
    with pytest.raises(ValueError, match="something else"):
        redis_codec.results_in([None], 2)


def test_a_model_that_passed_has_passed_and_a_suspect_one_may_have_been_mended():
    results = CheckResults(WeightNames())
    results.want(MODEL)
    assert results.wanted() == [MODEL]
    results.merge({MODEL: SUSPECT})
    assert results.of(MODEL) == SUSPECT
    assert results.wanted() == [MODEL]
    results.merge({MODEL: PASSED})
    assert results.of(MODEL) == PASSED
    assert results.wanted() == []
    results.merge({MODEL: SUSPECT})
    assert results.of(MODEL) == PASSED


def test_a_worker_that_lists_other_models_each_time_does_not_fill_memory():
    results = CheckResults(WeightNames())
    for number in range(1100):
        results.found(MODEL._replace(model=f"m{number}"), PASSED)
    assert results.of(MODEL._replace(model="m0")) is None
    assert len(results.take_unwritten()) == 1000


async def test_replicas_share_what_one_of_them_found_under_the_name_they_agree_on(server: Valkey):
    # Noise moved a score across the border of a digit.
    elsewhere = MODEL._replace(probe_scores="0.90,0.31,0.12,0.02")
    async with replica(server.url) as one:
        one.tier.results.found(MODEL, PASSED)
        one.tier.exchange_soon()

        async def are_written() -> bool:
            return len(await server.ask("KEYS", "rerank:1:[cw]*")) == 2

        await until_it(are_written)
        async with replica(server.url) as other:
            other.tier.results.want(elsewhere)
            other.tier.exchange_soon()
            await until(lambda: other.tier.results.of(elsewhere) == PASSED)
