"""The whole engine over the simulated network, with its own links: nobody is to notice what goes wrong there."""

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from app.assembly import Assembly
from app.settings import Settings
from app.workers.call_ids import CallIds
from app.workers.connect import connect
from tests.simulation import redis_manners
from tests.simulation.manners import MANNERS, SCORE_LIES, Manner
from tests.simulation.network import Connecting
from tests.simulation.redis_server import RedisServer
from tests.simulation.seams import network, now, over_network, run_simulated
from tests.simulation.test_redis_over_network import REDIS_TROUBLES
from tests.simulation.worker_server import WorkerServer, one_gpu
from tests.virtual import right_scores, score


class Cluster:
    """Two workers and a Redis, and the engine with links of its own to them."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        net = network()
        net.name("gpu-1", "10.0.0.1")
        net.name("gpu-2", "10.9.9.9", "10.0.0.2")
        net.name("cache", "10.0.0.9")
        self.hosts = [net.host(address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.9")]
        for host in self.hosts:
            host.latency_s, host.jitter_s, host.cuts = rng.uniform(0, 0.001), 0.001, rng.choice([0.0, 0.3])
        self.workers = [
            WorkerServer(host, scorer=one_gpu(fixed_s=0.002, per_document_s=0.0005)) for host in self.hosts[:2]
        ]
        self.redis = RedisServer(self.hosts[2], rng=rng)
        urls = ("http://gpu-1:8000", "http://gpu-2:8000")
        settings = Settings(workers=urls, redis_url="redis://cache:6379", worker_min_documents=32, hedge=True)
        links = partial(connect, call_ids=CallIds())
        self.engine: Assembly = Assembly(settings, link_factory=links, rng=Random(rng.random()))

    async def problem(self, seconds: float) -> None:
        """For so long one thing after another goes wrong, with one of the workers and with Redis."""
        sick, until = self.rng.choice(self.workers), now() + seconds
        while now() < until:
            heal = self.rng.choice([self._strike_worker, self._strike_redis])(sick)
            await asyncio.sleep(self.rng.uniform(0.5, 8))
            heal()
            await asyncio.sleep(self.rng.uniform(0, 3))

    def _strike_worker(self, sick: WorkerServer) -> Callable[[], None]:
        path = self.rng.choice(["/v1/score", "/v1/models", "/version", "*"])
        strike = self.rng.choice(["manner", "lie", "stop", "freeze", "reset", "drip"])
        if strike == "manner":
            sick.manners[path] = MANNERS[self.rng.choice(sorted(MANNERS))]
        elif strike == "lie":
            sick.manners["/v1/score"] = Manner(lie=SCORE_LIES[self.rng.choice(sorted(SCORE_LIES))])
        elif strike == "stop":
            sick.host.stop()
        elif strike == "freeze":
            sick.host.freeze()
        elif strike == "reset":
            sick.host.reset_connections()
        else:
            sick.host.bytes_per_s = 1000.0

        def heal() -> None:
            sick.manners.clear()
            sick.host.start()
            sick.host.thaw()
            sick.host.bytes_per_s = None

        return heal

    def _strike_redis(self, _: WorkerServer) -> Callable[[], None]:
        changes = [change for name, (change, _) in sorted(REDIS_TROUBLES.items()) if "name" not in name]
        self.rng.choice(changes)(self.redis)

        def heal() -> None:
            self.redis.manner = redis_manners.AS_REDIS
            self.hosts[2].start()
            self.hosts[2].thaw()

        return heal

    async def request(self) -> None:
        """One request, which must be answered rightly."""
        documents = [f"document {self.rng.randrange(2000)}" for _ in range(self.rng.choice([1, 5, 32, 150]))]
        scored = await score(self.engine, documents, cache=self.rng.choice(["default", "no-cache", "no-store"]))
        assert list(scored.scores) == right_scores(documents)


async def a_minute_of_trouble(rng: Random) -> None:
    cluster = Cluster(rng)
    async with cluster.engine.running():
        await asyncio.sleep(0.5)
        problem = asyncio.create_task(cluster.problem(60))
        async with asyncio.TaskGroup() as requests:
            while not problem.done():
                requests.create_task(cluster.request())
                await asyncio.sleep(rng.expovariate(5))
        await asyncio.sleep(10)
        assert all(worker.is_usable for worker in cluster.engine.registry.workers)
        await cluster.request()
        assert cluster.engine.admission.pending_documents == cluster.engine.scheduler.waiting == 0
    # Each request has the same id, as a client's retries have.
    call_ids = [call_id for worker in cluster.workers for call_id in worker.call_ids]
    assert {call_id.partition("-")[0] for call_id in call_ids} == {"r", "probe", "check"}
    assert len(call_ids) == len(set(call_ids))


@pytest.mark.parametrize("seed", range(10))
def test_an_engine_answers_rightly_while_faults_come_and_go(seed: int):
    run_simulated(a_minute_of_trouble(Random(seed)), seed=seed)


async def ask_steadily(cluster: Cluster, *, seconds: float) -> None:
    """A request every second, each of which must be answered rightly."""
    async with asyncio.TaskGroup() as requests:
        for _ in range(int(seconds)):
            requests.create_task(cluster.request())
            await asyncio.sleep(1)


@over_network
async def test_names_that_hang_take_nobody_along_who_has_another():
    cluster = Cluster(Random(1))
    async with cluster.engine.running():
        await asyncio.sleep(0.5)
        for name, host in (("gpu-1", cluster.hosts[0]), ("cache", cluster.hosts[2])):
            network().name(name).hang()
            host.stop()
        await ask_steadily(cluster, seconds=120)


@over_network
async def test_a_dead_address_of_a_name_hides_no_live_one():
    cluster = Cluster(Random(1))
    async with cluster.engine.running():
        await asyncio.sleep(0.5)
        network().host("10.9.9.9").connecting = Connecting.SILENT
        cluster.hosts[0].stop()
        cluster.hosts[1].reset_connections()
        await ask_steadily(cluster, seconds=30)


def test_two_runs_of_one_seed_are_the_same_to_the_byte():
    def trace() -> list[tuple[float, str, str]]:
        told: list[tuple[float, str, str]] = []

        async def story() -> None:
            network().tell = lambda *event: told.append(event)
            await a_minute_of_trouble(Random(3))

        run_simulated(story(), seed=3)
        return told

    first, second = trace(), trace()
    assert len(first) > 1000
    # In one moment, connections of a worker close in the order in which a set has them.
    assert sorted(first) == sorted(second)
