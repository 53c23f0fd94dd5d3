"""Workers and examinations that the doctor's tests share."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.settings import Settings
from app.tools.doctor import Findings, Options, diagnose
from tests.fake_vllm import Call, FakeVllm, answer_to, reply

Examine = Callable[..., Awaitable[Findings]]


async def by_beginning(call: Call, writer: asyncio.StreamWriter) -> None:
    """Score texts by how they begin, as models do where the end hardly matters."""
    beginnings = [" ".join(text.split()[:20]) for text in call.documents]
    name = "text_2" if "text_2" in call.body else "documents"
    reply(writer, 200, answer_to(Call(call.method, call.path, call.headers, {**call.body, name: beginnings})))


@pytest.fixture
def healthy() -> FakeVllm:
    return FakeVllm(always=by_beginning)


@pytest.fixture
def examine() -> Examine:
    """Examine a URL without the long wait for idle connections."""

    async def run(url: str, *workers: str, idle_s: float = 0.2, **more: object) -> Findings:
        options = {"settings": Settings(), **more}
        return await diagnose(Options(url=url, workers=workers, idle_s=idle_s, **options))  # type: ignore[arg-type]

    return run
