"""The link to vLLM over the simulated network: each fault is what it should be to it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.errors import (
    BadAnswer,
    Busy,
    ClosedBeforeResponse,
    ClosedMidResponse,
    ContentRejected,
    Misconfigured,
    Unavailable,
    Unreachable,
    WorkerError,
)
from app.types import Answer, Pairs
from app.workers.link import Identity
from app.workers.vllm import VllmLink
from tests.simulation import manners
from tests.simulation.manners import MANNERS, Manner
from tests.simulation.network import Connecting
from tests.simulation.seams import network, now, over_network
from tests.simulation.worker_server import WorkerServer, one_gpu
from tests.virtual import right_scores

PAIRS = Pairs(["q"], ["a", "b", "c"])
CALLS: Mapping[str, Callable[[VllmLink], Awaitable[Any]]] = {
    "/v1/score": lambda link: link.score("m", PAIRS, {}, request_id="id-1"),
    "/v1/models": lambda link: link.identify(),
    "/version": lambda link: link.identify(),
    "/tokenize": lambda link: link.count_tokens("m", "a b c", request_id="id-1"),
}
ANSWERS: Mapping[str, Any] = {
    "/v1/score": Answer(right_scores(["a", "b", "c"]), 6),
    "/v1/models": Identity("0.32.0", [("m", "/models/m", 512)]),  # type: ignore[list-item]  # equal to what it lists
    "/version": Identity("0.32.0", [("m", "/models/m", 512)]),  # type: ignore[list-item]  # as above
    "/tokenize": 3,
}
# What each manner is to a call that scores; those that aren't listed are no trouble.
MEANS: Mapping[str, type[Exception]] = {
    "hangs": TimeoutError,
    "drips": TimeoutError,
    "drips chunks": TimeoutError,
    "closes before the head": ClosedBeforeResponse,
    "resets before the head": ClosedBeforeResponse,
    "closes after the head": ClosedMidResponse,
    "resets after the head": ClosedMidResponse,
    "closes in the body": ClosedMidResponse,
    "resets in the body": ClosedMidResponse,
    "breaks off between chunks": ClosedMidResponse,
    "speaks no HTTP": ClosedBeforeResponse,
    "answers 302": Misconfigured,
    "answers 400": ContentRejected,
    "answers 401": Misconfigured,
    "answers 404": Misconfigured,
    "answers 405": Misconfigured,
    "answers 413": ContentRejected,
    "answers 422": ContentRejected,
    "answers 429": Busy,
    "answers 500": Unavailable,
    "answers 502": Unavailable,
    "answers 503": Busy,
    "answers 504": Unavailable,
    **{name: Busy for name in MANNERS if name.startswith("asks for a rest")},
}


@asynccontextmanager
async def link_to_a_worker(*, cuts: float = 0.5) -> Any:
    """A worker in a network that cuts what it carries, and the link to it, which has been used."""
    network().name("gpu-1", "10.0.0.1")
    host = network().host("10.0.0.1")
    host.cuts, host.jitter_s = cuts, 0.0005
    worker, link = WorkerServer(host), VllmLink("http://gpu-1:8000")
    try:
        await link.identify()
        await link.score("m", PAIRS, {}, request_id="id-1")
        # The connections are kept, and nothing is on its way any more.
        await asyncio.sleep(0.1)
        yield worker, link
    finally:
        await link.close()


async def outcome_of(call: Awaitable[Any], *, within_s: float) -> Any:
    """What a call gave, or the error it ended in."""
    try:
        async with asyncio.timeout(within_s):
            return await call
    except (WorkerError, TimeoutError) as exc:
        return exc


@pytest.mark.parametrize("name", MANNERS)
@over_network
async def test_what_a_call_that_scores_meets_is_told_apart(name: str):
    async with link_to_a_worker() as (worker, link):
        worker.manners["/v1/score"] = MANNERS[name]
        met = await outcome_of(link.score("m", PAIRS, {}, request_id="id-1"), within_s=5)
        assert type(met) is MEANS[name] if name in MEANS else met == ANSWERS["/v1/score"]
        worker.manners.clear()
        await asyncio.sleep(6)
        assert await link.score("m", PAIRS, {}, request_id="id-1") == ANSWERS["/v1/score"]


@pytest.mark.parametrize("name", MANNERS)
@pytest.mark.parametrize("path", ["/v1/models", "/version", "/tokenize"])
@over_network
async def test_a_rare_call_ends_well_or_as_an_error_of_the_worker(path: str, name: str):
    async with link_to_a_worker() as (worker, link):
        worker.manners[path] = MANNERS[name]
        met = await outcome_of(CALLS[path](link), within_s=30)
        # How long a query's tokens may be counted, is for whoever asks to say.
        errors = WorkerError if path != "/tokenize" else WorkerError | TimeoutError
        assert met == ANSWERS[path] or (isinstance(met, errors) and name in MEANS)
        worker.manners.clear()
        await asyncio.sleep(6)
        assert await CALLS[path](link) == ANSWERS[path]


@pytest.mark.parametrize("name", manners.SCORE_LIES)
@pytest.mark.parametrize("path", ["/v1/score", "/v1/rerank"])
@over_network
async def test_scores_that_are_none_are_a_bad_answer(path: str, name: str):
    async with link_to_a_worker() as (worker, link):
        worker.has_score_route = path == "/v1/score"
        worker.manners[path] = Manner(lie=manners.SCORE_LIES[name])
        with pytest.raises(BadAnswer):
            await link.score("m", PAIRS, {}, request_id="id-1")


LIES: Mapping[tuple[str, str], manners.Lie] = {
    (path, name): lie
    for path, lies in {
        "/v1/score": manners.USAGE_LIES,
        "/v1/models": manners.MODELS_LIES,
        "/version": manners.VERSION_LIES,
        "/tokenize": manners.TOKENIZE_LIES,
    }.items()
    for name, lie in lies.items()
}


@pytest.mark.parametrize(("path", "name"), LIES)
@over_network
async def test_no_lie_of_a_worker_is_more_than_an_error_of_it(path: str, name: str):
    async with link_to_a_worker() as (worker, link):
        worker.manners[path] = Manner(lie=LIES[path, name])
        met = await outcome_of(CALLS[path](link), within_s=30)
        # It is shown to people.
        assert not isinstance(met, WorkerError) or len(met.message) < 500


@over_network
async def test_a_connection_that_the_worker_closed_while_it_was_idle_is_not_used_again():
    async with link_to_a_worker() as (worker, link):
        worker.idle_s = 1.0
        for path in CALLS:
            await CALLS[path](link)
            await asyncio.sleep(1.5)
            assert await CALLS[path](link) == ANSWERS[path]


@over_network
async def test_a_connection_is_let_go_before_the_worker_may_close_it():
    async with link_to_a_worker() as (worker, link):
        # Around the moment at which the worker would close it, a call on it would cross the FIN on the way.
        for early_s in (0.002, 0.001, 0.0005, 0.0002, 0.0):
            assert await link.score("m", PAIRS, {}, request_id="id-1") == ANSWERS["/v1/score"]
            await asyncio.sleep(worker.idle_s - early_s)
            assert await link.score("m", PAIRS, {}, request_id="id-1") == ANSWERS["/v1/score"]


@pytest.mark.parametrize("name", ["keeps no connection", "sends rubbish behind it", "says more than it announced"])
@over_network
async def test_a_connection_that_the_worker_does_not_keep_well_is_used_once(name: str):
    async with link_to_a_worker() as (worker, link):
        worker.manners["/v1/score"] = MANNERS[name]
        for _ in range(3):
            assert await link.score("m", PAIRS, {}, request_id="id-1") == ANSWERS["/v1/score"]
            if MANNERS[name].keeps:
                # What comes behind an answer comes a moment later.
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert worker.host.connections <= 1, "but for one of a rare call none is left"


@over_network
async def test_a_call_that_is_given_up_is_noticed_by_the_worker():
    async with link_to_a_worker() as (worker, link):
        worker.scorer = one_gpu(fixed_s=10, per_document_s=0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await link.score("m", PAIRS, {}, request_id="id-1")
        await asyncio.sleep(0.1)
        assert (worker.in_flight, worker.abandoned) == (0, 1)


@over_network
async def test_a_worker_that_is_not_there_is_unreachable():
    async with link_to_a_worker() as (worker, link):
        worker.host.stop()
        await asyncio.sleep(0.1)
        for call in CALLS.values():
            with pytest.raises(Unreachable):
                await call(link)
        worker.host.start()
        worker.host.connecting = Connecting.SILENT
        for call in CALLS.values():
            began = now()
            with pytest.raises(Unreachable):
                await call(link)
            assert now() - began == pytest.approx(2, abs=0.1)
        network().name("gpu-1").fails = socket.EAI_NONAME
        worker.host.start()
        for path in ("/v1/score", "/tokenize"):
            with pytest.raises(Unreachable):
                await CALLS[path](link)
