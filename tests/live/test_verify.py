"""`rerank-gateway verify` tells workers apart that serve one model in two precisions."""

import json
from pathlib import Path

import pytest

from app.tools.verify.sample import built_in
from tests.integration.commands import run
from tests.integration.verify_report import Report
from tests.live.worker import OwnWorker


@pytest.fixture
def sample(tmp_path: Path) -> str:
    """A quarter of the built-in sample: enough for a verdict, and no test of speed."""
    lines = [{"query": pairs.queries[0], "documents": pairs.documents[:64]} for pairs in built_in()[:2]]
    file = tmp_path / "sample.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return str(file)


async def verified(sample: str, *urls: str, **settings: str) -> tuple[int, Report]:
    """The exit code and the report."""
    ended = await run("verify", "--json", "--sample", sample, WORKERS=",".join(urls), **settings)
    assert ended.err == ""
    return ended.code, Report.model_validate_json(ended.out)


@pytest.mark.timeout(120)
async def test_a_float32_model_is_safe_to_split_and_its_workers_agree(workers: tuple[str, str], sample: str):
    code, report = await verified(sample, *workers)
    assert (code, report.verdict.kind) == (0, "safe")
    assert report.across[0].largest < 1e-5
    for worker in report.workers:
        assert worker.neighbours
        assert max(row.largest for row in (worker.alone, worker.neighbours, *worker.splits)) < 1e-5


@pytest.mark.timeout(300)
async def test_a_worker_of_another_precision_is_named(workers: tuple[str, str], coarse_worker: OwnWorker, sample: str):
    await coarse_worker.start()
    code, report = await verified(sample, workers[0], coarse_worker.url, WORKER_API_KEY=coarse_worker.api_key)
    assert (code, report.verdict.kind) == (1, "workers_differ")
    assert f"{coarse_worker.name} has other precision than" in report.verdict.text
    assert "not_safe" not in {worker.verdict for worker in report.workers}
