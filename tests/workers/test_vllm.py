import asyncio

import pytest

from app.errors import ClosedBeforeResponse, Unreachable
from app.workers.vllm import VllmLink
from tests.listening import listening, refusing_port


async def problem(url: str) -> str:
    """The message of the failure, which must be that no connection came about."""
    link = VllmLink(url)
    try:
        with pytest.raises(Unreachable) as caught:
            await link.identify()
    finally:
        await link.close()
    assert not isinstance(caught.value, ClosedBeforeResponse)
    return caught.value.message


async def test_a_port_where_nobody_listens_refuses_the_connection():
    with refusing_port() as port:
        assert await problem(f"http://127.0.0.1:{port}") == f"127.0.0.1:{port} refused the connection"


async def test_a_server_that_resets_in_the_handshake_of_tls_did_not_refuse():
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with listening(reset) as port:
        seen = await problem(f"https://127.0.0.1:{port}")
    assert seen == f"127.0.0.1:{port} closed the connection while it was being set up"


async def test_an_address_that_the_network_has_no_way_to_is_told_in_the_words_of_the_system():
    # Loopback's broadcast address takes no connections.
    assert "127.255.255.255:8000 can't be reached: " in await problem("http://127.255.255.255:8000")
