"""Signals at every moment of start, service and stop: none kills by its default, and none is waited for in vain."""

import asyncio
import signal
from random import Random

import httpx
import pytest

from tests.chaos.served import served, until_it_takes

TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
# Before it serves, as after a shell's Ctrl-C or kill; once it serves, a stop is what was asked for. Python takes its
# handlers back in its last milliseconds, and a second signal then ends it as it ends any process.
GOOD_ENDS = {0, 128 + TERM, 128 + INT, -TERM, -INT}
PROCESSES = 20
AT_ONCE = 6


async def story(seed: int) -> None:
    """A process that is hung up on, told to stop and told again, whenever that may be."""
    rng = Random(seed)
    hangups = [(rng.uniform(0, 2), HUP) for _ in range(rng.randint(0, 4))]
    end_s = rng.uniform(0, 2)
    ends = [(end_s, rng.choice([TERM, INT]))]
    if rng.random() < 0.5:
        ends.append((end_s + rng.choice([0, rng.expovariate(20)]), rng.choice([TERM, INT])))
    after = [(end_s + rng.expovariate(20), HUP) for _ in range(rng.randint(0, 3))]
    async with served(DRAIN_S=rng.choice(["0", "0.3"]), LOG_LEVEL="error") as gateway:
        await until_it_takes(TERM, gateway)
        passed_s = 0.0
        for at_s, sig in sorted([*hangups, *ends, *after]):
            await asyncio.sleep(at_s - passed_s)
            passed_s = at_s
            if at_s < end_s:
                assert gateway.process.returncode is None, f"seed {seed}: it ended by {sig.name} after {at_s:.3f} s"
            gateway.tell(sig)
        assert await gateway.ended() in GOOD_ENDS, f"seed {seed}"


async def test_signals_at_random_moments_end_it_when_they_should_and_never_otherwise():
    async def batch(first: int) -> None:
        for seed in range(first, PROCESSES, AT_ONCE):
            await story(seed)

    async with asyncio.TaskGroup() as batches:
        for first in range(AT_ONCE):
            batches.create_task(batch(first))


# Sends a signal when a module is looked for the first time, as the last of what the process does, or even later.
SENDING = """
import atexit, os, signal, sys
class Sends:
    def find_spec(self, name, path, target=None):
        if name == MODULE:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), SIGNAL)
sys.meta_path.insert(0, Sends())
if MODULE == "atexit":
    atexit.register(os.kill, os.getpid(), SIGNAL)
class SendsAsItGoes:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, SIGNAL)
if MODULE == "finalization":
    sys.goes = SendsAsItGoes()
sys.argv = ["rerank-gateway", "serve"]
from app.__main__ import main
main()
"""
# Looked for before the settings are read, by the loop before it serves, and never: before and after Python takes its
# handlers back.
IMPORTING, STARTING, ENDING, ENDED = "app.cli", "uvicorn.lifespan.on", "atexit", "finalization"


def sending(module: str, sig: signal.Signals) -> str:
    return SENDING.replace("MODULE", repr(module)).replace("SIGNAL", str(int(sig)))


@pytest.mark.parametrize(
    ("module", "sig", "code"),
    [(IMPORTING, TERM, 143), (IMPORTING, INT, 130), (STARTING, TERM, 0), (STARTING, INT, 0)],
)
async def test_a_signal_during_the_start_ends_it_without_a_word_of_python(module: str, sig: signal.Signals, code: int):
    async with served("-c", sending(module, sig), stderr=asyncio.subprocess.STDOUT, DRAIN_S="60") as gateway:
        assert await gateway.ended() == code
        assert gateway.process.stdout
        told = (await gateway.process.stdout.read()).decode()
    assert "Traceback" not in told
    assert ('"event":"stopped"' in told) == (code == 0)


@pytest.mark.parametrize(("module", "reloads"), [(IMPORTING, 0), (STARTING, 1)])
async def test_a_hangup_during_the_start_leads_to_a_reload_if_the_settings_were_read_before_it(
    module: str, reloads: int
):
    async with served("-c", sending(module, HUP)) as gateway:
        async with gateway.client():
            await asyncio.sleep(0.3)
        gateway.tell(TERM)
        assert await gateway.ended() == 0
        assert gateway.process.stdout
        assert (await gateway.process.stdout.read()).count(b'"event":"reloaded"') == reloads


@pytest.mark.parametrize(
    ("moment", "sig", "code"), [(ENDING, HUP, 0), (ENDING, TERM, 143), (ENDING, INT, 130), (ENDED, HUP, 0)]
)
async def test_a_signal_in_the_last_moment_is_no_death_by_it(moment: str, sig: signal.Signals, code: int):
    async with served("-c", sending(moment, sig), LOG_LEVEL="error") as gateway:
        async with gateway.client():
            gateway.tell(TERM)
        assert await gateway.ended() == code


async def test_a_thousand_hangups_at_once_keep_nobody_waiting_and_are_a_few_reloads():
    async with served() as gateway:
        async with gateway.client() as client:
            asked = asyncio.create_task(_requests(client))
            for _ in range(100):
                for _ in range(10):
                    gateway.tell(HUP)
                await asyncio.sleep(0.005)
            assert await asked == [200] * 100
        gateway.tell(TERM)
        assert await gateway.ended() == 0
        assert gateway.process.stdout
        told = (await gateway.process.stdout.read()).decode()
    assert 1 <= told.count('"event":"reloaded"') < 100


async def _requests(client: httpx.AsyncClient) -> list[int]:
    body = {"query": "a", "documents": ["a"]}
    return [(await client.post("/rerank", json=body)).status_code for _ in range(100)]
