"""The limit on client connections."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from app.server.clients import Clients
from tests.security.raw import connected
from tests.server.refusing import refusing
from tests.waiting import until


async def test_however_many_connections_come_beyond_the_limit_it_holds():
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    shed: list[str] = []
    clients = Clients(max_connections=2, on_shed=shed.append)
    async with refusing(clients) as (_, port), AsyncExitStack() as stack:
        for _ in range(30):
            await stack.enter_async_context(connected(port))
        # One is told that it is too many, for the others there is no time.
        await until(lambda: len(shed) == 28)
        await until(lambda: clients.turned_away == 1)
        assert clients.connections == 2
    await until(lambda: (clients.connections, clients.turned_away) == (0, 0))
    assert not failures
