import pytest

from tests.fake_vllm import FakeVllm
from tests.running import gateway, rerank


@pytest.mark.parametrize(("kind", "counted"), [("template", 1), (None, 0)])
async def test_a_long_instruction_is_counted_only_where_it_takes_room_from_documents(kind: str | None, counted: int):
    worker = FakeVllm()
    async with gateway(worker, models={"tiny-reranker": {"kind": kind}}) as client:
        assert (await rerank(client, ["a"], instruction="find laws " * 40)).status_code == 200
    assert sum(call.path == "/tokenize" for call in worker.calls) == counted
