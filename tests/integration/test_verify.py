"""`rerank-gateway verify` over workers whose scores depend on what a test says."""

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import pytest

from app.tools.verify.sample import built_in
from app.types import text_of
from tests.fake_vllm import Call, FakeVllm, Fault, answer_to, reply, score_of, status
from tests.integration.commands import Finished, run
from tests.integration.verify_report import Report
from tests.listening import refusing_port

# A whole run of the command for each.
pytestmark = pytest.mark.long

TOP_SECRET = "zebra"


def scoring(scores: Callable[[Call], Sequence[float]]) -> Fault:
    """Answer with other scores."""

    async def fault(call: Call, writer: Any) -> None:
        answer = answer_to(call)
        for row, score in zip(answer["data"], scores(call), strict=True):
            row["score"] = score
        reply(writer, 200, answer)

    return fault


def pointwise(call: Call) -> list[float]:
    return [score_of(query, text) for query, text in zip(call.queries, call.documents, strict=True)]


def rounded(call: Call) -> list[float]:
    """As bfloat16 does: another shape of the call, another error of up to 0.025."""
    shape = len(call.documents)
    return [score + 0.05 * _share(f"{shape} {score}") - 0.025 for score in pointwise(call)]


def listwise(call: Call) -> list[float]:
    return [score - mean(pointwise(call)) for score in pointwise(call)]


def hardly_listwise(call: Call) -> list[float]:
    return [score - 0.02 * mean(pointwise(call)) for score in pointwise(call)]


def coarser(call: Call) -> list[float]:
    """Other precision, whatever the shape."""
    return [round(score, 2) for score in pointwise(call)]


def of_other_weights(call: Call) -> list[float]:
    return [score_of("other weights", text) for text in call.documents]


def _share(text: str) -> float:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32


@pytest.fixture
def sample(tmp_path: Path) -> str:
    """Two queries with 40 and 20 documents of three to twelve words."""
    words = [f"{TOP_SECRET}{number}" for number in range(50)]
    chance = Random(3)
    lines = [
        {"query": TOP_SECRET, "documents": [" ".join(chance.choices(words, k=chance.randint(3, 12))) for _ in range(n)]}
        for n in (40, 20)
    ]
    file = tmp_path / "sample.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return str(file)


async def verified(sample: str, *workers: FakeVllm, **settings: str) -> tuple[int, Report]:
    """The exit code and the report; without a sample, on the built-in pictures."""
    urls = ",".join(worker.url for worker in workers)
    ended = await run(
        "verify", *(("--sample", sample) if sample else ("--images",)), "--json", WORKERS=urls, **settings
    )
    assert ended.err == ""
    assert TOP_SECRET not in ended.out
    return ended.code, Report.model_validate_json(ended.out)


async def test_a_model_that_scores_each_pair_by_itself_is_safe_and_measured_in_all_ways():
    async with FakeVllm().running() as worker:
        ended = await run("verify", "--worker", worker.url, "--json")
        report = Report.model_validate_json(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert (report.model, report.sample.queries, report.sample.documents) == ("tiny-reranker", 4, 512)
    (measured,) = report.workers
    assert [split.max_batch for split in measured.splits] == [8, 16, 32, 64, 128]
    assert all(len(split.documents_per_s) == 3 for split in measured.splits)
    assert measured.neighbours
    assert measured.neighbours.documents == 256
    every = [measured.repeated, measured.shuffled, measured.neighbours, measured.alone, *measured.splits]
    assert all((one.largest, one.swaps, one.top_10) == (0, 0, 0) for one in every)
    assert (report.verdict.kind, report.verdict.needs_action) == ("safe", False)
    assert report.verdict.max_batch in {8, 16, 32, 64, 128}
    texts = [text for pairs in built_in() for text in [*pairs.queries, *pairs.documents]]
    assert not any(text_of(text) in ended.out for text in texts)


async def test_a_model_that_is_served_wrongly_needs_action_and_is_told_with_the_option_to_add(sample: str):
    async with FakeVllm(model="qwen3-reranker", reverses=True).running() as worker:
        code, report = await verified(sample, worker)
        told = await run("verify", "--worker", worker.url, "--sample", sample)
    check = report.workers[0].check
    assert (code, told.code, report.verdict.kind) == (1, 1, "safe")
    assert (check.kept, check.asked) == (0, 8)
    assert check.suspicion
    assert check.suspicion.reason == "order"
    assert "--chat-template qwen3_reranker.jinja" in check.suspicion.fix
    assert "served wrongly" in told.out


async def test_calls_have_the_sizes_that_are_reported(sample: str):
    async with FakeVllm(fixed_s=0.002).running() as worker:
        _, report = await verified(sample, worker)
        counts = [len(call.documents) for call in worker.scored]
    assert [split.max_batch for split in report.workers[0].splits] == [8, 16, 32]
    # Three times unsplit, three times among other texts and once shuffled; in chunks of 8 five and three of each list.
    assert counts.count(40) == 7
    assert counts.count(1) == 32 + 20
    assert max(counts[7 * 2 + 52 :]) <= 32
    assert worker.most_in_flight > 1


async def test_differences_of_precision_are_told_as_such(sample: str):
    async with FakeVllm(always=scoring(rounded)).running() as worker:
        code, report = await verified(sample, worker)
    assert (code, report.verdict.kind) == (0, "precision")
    assert "bfloat16" in report.verdict.text
    assert report.verdict.max_batch
    assert report.workers[0].repeated.largest == 0


async def test_a_worker_as_noisy_between_repeats_is_safe(sample: str):
    chance = Random(7)
    noisy = scoring(lambda call: [score + chance.uniform(-0.02, 0.02) for score in pointwise(call)])
    async with FakeVllm(always=noisy).running() as worker:
        code, report = await verified(sample, worker)
    assert (code, report.verdict.kind) == (0, "safe")
    assert "repeating" in report.verdict.text


@pytest.mark.parametrize("scorer", [listwise, hardly_listwise])
async def test_a_listwise_model_is_not_safe_until_the_settings_say_that_it_is_listwise(sample: str, scorer: Any):
    async with FakeVllm(always=scoring(scorer)).running() as worker:
        code, report = await verified(sample, worker)
        assert (code, report.verdict.kind, report.verdict.max_batch) == (1, "not_safe", None)
        assert "kind: listwise" in report.verdict.advice
        code, report = await verified(sample, worker, MODELS='{"tiny-reranker": {"kind": "listwise"}}')
        assert (code, report.verdict.kind, report.verdict.max_batch) == (0, "listwise", None)


def batched(call: Call) -> list[float]:
    """As vllm#39631: images beside others score otherwise than alone."""
    return [score + 0.5 * _share(f"{len(call.documents)} {score}") for score in pointwise(call)]


async def test_a_model_whose_image_scores_move_in_batches_is_not_safe_until_the_settings_say_so():
    async with FakeVllm(multimodal=True, always=scoring(batched)).running() as worker:
        code, report = await verified("", worker)
        assert (code, report.verdict.kind, report.verdict.max_batch) == (1, "not_safe", None)
        assert "split_images: false" in report.verdict.advice
        told = '{"tiny-reranker": {"multimodal": true, "split_images": false}}'
        code, report = await verified("", worker, MODELS=told)
        assert (code, report.verdict.kind, report.verdict.max_batch) == (0, "listwise", None)
        assert "what else is in the call" in report.verdict.text


@pytest.mark.parametrize(("scorer", "cause"), [(of_other_weights, "weights"), (coarser, "precision")])
async def test_a_worker_that_answers_otherwise_is_named_with_the_cause(sample: str, scorer: Any, cause: str):
    odd = FakeVllm(always=scoring(scorer))
    async with odd.running(), FakeVllm().running() as one, FakeVllm().running() as two:
        code, report = await verified(sample, odd, one, two)
    assert (code, report.verdict.kind) == (1, "workers_differ")
    name, standard, other = (worker.url.removeprefix("http://") for worker in (odd, one, two))
    assert report.verdict.text.endswith(f"but {name} has other {cause} than {standard}")
    assert [worker.verdict for worker in report.workers] == ["safe"] * 3
    assert [(row.base, row.worker) for row in report.across] == [(standard, name), (standard, other)]
    assert report.across[0].largest > 0.001
    assert report.across[1].largest == 0


async def test_workers_that_agree_are_one_fleet(sample: str):
    async with FakeVllm().running() as one, FakeVllm().running() as two:
        code, report = await verified(sample, one, two)
    assert (code, report.verdict.kind, len(report.workers)) == (0, "safe", 2)


async def test_people_get_tables_and_a_recommendation(sample: str):
    async with FakeVllm().running() as one, FakeVllm(always=scoring(coarser)).running() as two:
        told = await run("verify", "--worker", one.url, "--sample", sample)
        both = await run("verify", "--worker", one.url, "--worker", two.url, "--sample", sample)
    assert (told.code, told.err) == (0, "")
    for words in ("tiny-reranker: 2 queries with 60 documents", "max_batch 32", "among other texts", "\nsafe: "):
        assert words in told.out
    assert "recommended: RERANK_MAX_BATCH=" in told.out
    assert both.code == 1
    assert "worker against worker" in both.out
    assert "workers differ: " in both.out
    assert TOP_SECRET not in told.out + both.out


async def test_the_embedded_worker_can_be_verified_too(sample: str):
    ended = await run("verify", "--sample", sample)
    assert (ended.code, ended.err) == (0, "")
    assert "lexical" in ended.out


async def test_a_source_of_workers_is_asked_once(sample: str):
    async with FakeVllm().running() as worker:
        port = worker.url.rpartition(":")[2]
        told = await run("verify", "--worker", f"dns://127.0.0.1:{port}", "--sample", sample)
    assert told.code == 0
    assert f"127.0.0.1:{port}" in told.out


async def test_the_workers_key_is_shown_to_them(sample: str):
    async with FakeVllm(api_key="hush").running() as worker:
        with_key = await run("verify", "--sample", sample, WORKERS=worker.url, WORKER_API_KEY="hush")
        without = await run("verify", "--sample", sample, WORKERS=worker.url)
    assert with_key.code == 0
    assert without.code == 2
    assert "RERANK_WORKER_API_KEY" in without.err
    assert "hush" not in with_key.out


def assert_unusable(ended: Finished, *words: str) -> None:
    assert (ended.code, ended.out) == (2, "")
    for one in words:
        assert one in ended.err
    assert TOP_SECRET not in ended.err
    assert "Traceback" not in ended.err


async def test_workers_that_are_down_are_all_named(sample: str):
    with refusing_port() as one, refusing_port() as other:
        down = [f"127.0.0.1:{port}" for port in (one, other)]
        async with FakeVllm().running() as worker:
            urls = ",".join([worker.url, *(f"http://{name}" for name in down)])
            assert_unusable(await run("verify", "--sample", sample, WORKERS=urls), *down, "--worker")


@pytest.mark.parametrize("code", [400, 500, 503])
async def test_a_worker_that_does_not_score_is_named_with_its_reason(sample: str, code: int):
    async with FakeVllm(always=status(code, "out of order")).running() as worker:
        ended = await run("verify", "--sample", sample, WORKERS=worker.url)
    assert_unusable(ended, worker.url.removeprefix("http://"), "out of order")


async def test_which_of_several_models_is_meant_has_to_be_said(sample: str):
    async with FakeVllm(model="a").running() as one, FakeVllm(model="b").running() as two:
        urls = f"{one.url},{two.url}"
        assert_unusable(await run("verify", "--sample", sample, WORKERS=urls), "the workers serve a, b", "--model")
        assert_unusable(await run("verify", "--model", "c", WORKERS=urls), "no worker serves c", "a, b")
        assert (await run("verify", "--sample", sample, "--model", "b", WORKERS=urls)).code == 0
        assert (await run("verify", "--sample", sample, WORKERS=urls, DEFAULT_MODEL="a")).code == 0
        assert {len(one.calls) > 2, len(two.calls) > 2} == {True}


async def test_a_bad_line_of_a_sample_is_named_by_its_number(tmp_path: Path):
    file = tmp_path / "sample.jsonl"
    file.write_text(f'{{"query": "q", "documents": ["a"]}}\n{{"query": "{TOP_SECRET}"}}\n')
    assert_unusable(await run("verify", "--sample", str(file)), "sample.jsonl, line 2: documents must be")


async def test_what_is_no_address_is_told(sample: str):
    assert_unusable(await run("verify", "--worker", "gpu-1", "--sample", sample), "gpu-1 is no URL like")
