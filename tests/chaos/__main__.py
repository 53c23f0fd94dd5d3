"""The long form: every fault for longer, without hedging and with it. Exits with 1 when a promise is broken."""

import asyncio
import signal
import sys

from tests.chaos.faults import FAULTS, HEALTHY
from tests.chaos.run import Row, restart, run, table, warm_up
from tests.chaos.stage import set_up

_ROUNDS = 3


async def _run() -> list[Row]:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel, asyncio.current_task())
    rows: list[Row] = []
    for hedging in ({}, {"RERANK_HEDGE": "on"}):
        async with set_up(workers=5, gateways=[hedging]) as stage:
            await warm_up(stage)
            for fault in (HEALTHY, *FAULTS):
                _show(rows, *await run(fault, stage, stage.gateways, seconds=fault.long_s))
            _show(rows, await restart(stage, rounds=_ROUNDS, **hedging))
    return rows


def _cancel(task: "asyncio.Task[list[Row]] | None") -> None:
    if task:
        task.cancel()


def _show(rows: list[Row], *more: Row) -> None:
    for row in more:
        rows.append(row)
        shown = table(rows).splitlines()
        problem = f"\n    {row.problem}" if row.problem else ""
        sys.stdout.write("\n".join(shown[-1 if len(rows) > 1 else 0 :]) + problem + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if any(row.problem for row in asyncio.run(_run())):
        sys.exit(1)
