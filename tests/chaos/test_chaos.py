"""The short form of the chaos suite; `make chaos` is the long one."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.faults import FAULTS, HEALTHY, Fault
from tests.chaos.run import Row, restart, run, warm_up
from tests.chaos.stage import Stage, set_up

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(chaos_rows: list[Row]) -> AsyncIterator[Stage]:
    """Processes that all tests share, and the healthy run that they are compared with."""
    async with set_up(workers=5, gateways=[{}, {"RERANK_HEDGE": "on"}]) as made:
        await warm_up(made)
        chaos_rows += await run(HEALTHY, made, made.gateways, seconds=HEALTHY.short_s)
        assert [row.problem for row in chaos_rows] == [None, None]
        yield made


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_clients_see_no_more_of_a_fault_than_is_promised(fault: Fault, stage: Stage, chaos_rows: list[Row]):
    rows = await run(fault, stage, stage.gateways, seconds=fault.short_s)
    chaos_rows += rows
    assert [row.problem for row in rows] == [None, None]


async def test_a_rolling_restart_of_the_gateway_costs_no_request(stage: Stage, chaos_rows: list[Row]):
    row = await restart(stage, rounds=1)
    chaos_rows.append(row)
    assert row.problem is None
