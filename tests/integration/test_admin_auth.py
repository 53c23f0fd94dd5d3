"""Who may operate a gateway, over real sockets: whoever has the key, or is on this machine, and no foreign page."""

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.integration.commands import running
from tests.integration.test_reload import hang_up
from tests.running import gateway

KEY = "admin-secret"
GETS = ["/admin/workers", "/admin/cache", "/admin/settings", "/admin/stats"]
POSTS = ["/admin/workers/drain", "/admin/workers/undrain", "/admin/cache/flush"]
JSON = {"Content-Type": "application/json"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def statuses(client: httpx.AsyncClient, **headers: str) -> set[int]:
    """How all routes answer a call with these headers; a POST that is let in has no valid body."""
    asked = [client.get(path, headers=headers) for path in GETS]
    asked += [client.post(path, content="{}", headers=JSON | headers) for path in POSTS]
    answers = await asyncio.gather(*asked)
    assert all(answer.headers["Cache-Control"] == "no-store" for answer in answers)
    assert all(
        set(answer.json()["error"]) == {"message", "type", "param", "code"} for answer in answers if answer.is_error
    )
    assert not [answer for answer in answers if "Access-Control-Allow-Origin" in answer.headers]
    return {answer.status_code for answer in answers}


LET_IN = {200, 400}


async def test_without_a_key_this_machine_is_let_in():
    async with gateway(FakeVllm()) as client:
        port = client.base_url.port
        for host in (f"127.0.0.1:{port}", "127.0.0.1", f"localhost:{port}", "LOCALHOST", "127.1.2.3", f"[::1]:{port}"):
            assert await statuses(client, Host=host) == LET_IN, host


@pytest.mark.parametrize(
    "host", ["attacker.example", "127.0.0.1.attacker.example", "localhost.attacker.example", "10.0.0.1", "[", "", "1"]
)
async def test_without_a_key_a_name_that_leads_here_lets_nobody_in(host: str):
    async with gateway(FakeVllm()) as client:
        assert await statuses(client, Host=host) == {403}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.internal"])  # noqa: S104 - nothing is bound there
async def test_without_a_key_a_gateway_that_listens_to_others_lets_nobody_in(host: str):
    # The tests' server listens on loopback whatever the settings say.
    async with gateway(FakeVllm(), host=host) as client:
        assert await statuses(client) == {403}
        assert "set RERANK_ADMIN_KEY" in (await client.get("/admin/workers")).text


@pytest.mark.parametrize("header", ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"])
async def test_without_a_key_what_came_through_a_proxy_is_not_from_this_machine(header: str):
    async with gateway(FakeVllm()) as client:
        assert await statuses(client, **{header: "127.0.0.1"}) == {403}
    async with gateway(FakeVllm(), admin_key=KEY) as client:
        assert await statuses(client, **{header: "192.0.2.1"}, **bearer(KEY)) == LET_IN


async def test_with_a_key_whoever_has_it_is_let_in_from_everywhere():
    async with gateway(FakeVllm(), admin_key=KEY, host="0.0.0.0") as client:  # noqa: S104 - nothing is bound there
        for given in (bearer(KEY), basic(KEY), basic(KEY, user="")):
            assert await statuses(client, Host="gateway.example", **given) == LET_IN


@pytest.mark.parametrize(
    "given",
    [
        {},
        bearer("wrong"),
        {"Authorization": "Bearer"},
        bearer("admin"),
        basic("wrong"),
        basic("", user=KEY),
        {"Authorization": KEY},
    ],
    ids=str,
)
async def test_with_a_key_nobody_else_is_let_in_and_browsers_ask_for_it(given: dict[str, str]):
    async with gateway(FakeVllm(), admin_key=KEY) as client:
        assert await statuses(client, **given) == {401}
        refused = await client.get("/admin/workers", headers=given)
    assert refused.headers["WWW-Authenticate"] == 'Basic realm="rerank-gateway admin"'
    assert KEY not in refused.text


async def test_api_keys_of_clients_do_not_operate_and_the_admin_key_does_not_score():
    async with gateway(FakeVllm(), admin_key=KEY, api_keys="milvus:client-secret") as client:
        assert await statuses(client, **bearer("client-secret")) == {401}
        body = {"query": "q", "documents": ["a"]}
        refused = await client.post("/rerank", json=body, headers=bearer(KEY))
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await client.post("/rerank", json=body, headers=bearer("client-secret"))).status_code == 200


@pytest.mark.parametrize("given", [{}, {"admin_key": KEY}], ids=["without a key", "with a key"])
async def test_a_page_of_another_site_is_refused_before_a_browser_asks_for_a_password(given: dict[str, str]):
    async with gateway(FakeVllm(), **given) as client:
        own = str(client.base_url).rstrip("/")
        foreign = [
            "https://attacker.example",
            "null",
            "http://127.0.0.1:1",
            own + ".attacker.example",
            own[5:],
            "http://",
        ]
        for key in ({}, bearer(KEY)):
            for origin in foreign:
                assert await statuses(client, Origin=origin, **key) == {403}, origin
            for site in ("cross-site", "same-site"):
                assert await statuses(client, **{"Sec-Fetch-Site": site}, **key) == {403}
                embedded = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
                assert await statuses(client, **embedded, **key) == {403}


@pytest.mark.parametrize("given", [{}, {"admin_key": KEY}], ids=["without a key", "with a key"])
async def test_the_gateways_own_page_is_let_in_also_where_tls_ends_before_it(given: dict[str, str]):
    async with gateway(FakeVllm(), **given) as client:
        own = str(client.base_url).rstrip("/")
        for origin in (own, own.replace("http:", "https:")):
            assert await statuses(client, Origin=origin, **{"Sec-Fetch-Site": "same-origin"}, **bearer(KEY)) == LET_IN


async def test_a_link_is_followed_from_everywhere_but_changes_nothing():
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with gateway(FakeVllm()) as client:
        assert {(await client.get(path, headers=link)).status_code for path in GETS} == {200}
        for path in POSTS:
            assert (await client.post(path, content="{}", headers=JSON | link)).status_code == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "text/plain; application/json", ""]
)
async def test_what_a_foreign_page_could_send_unasked_changes_nothing(kind: str):
    worker, other = FakeVllm(), FakeVllm()
    async with gateway(worker, other, admin_key=KEY) as client:
        content = f'{{"worker": "{worker.url.removeprefix("http://")}"}}'
        headers = bearer(KEY) | ({"Content-Type": kind} if kind else {})
        refused = await client.post("/admin/workers/drain", content=content, headers=headers)
        assert refused.status_code == 415
        shown = (await client.get("/admin/workers", headers=bearer(KEY))).json()["workers"]
        assert [one["is_drained"] for one in shown] == [False, False]


async def test_a_browser_that_asks_whether_it_may_is_not_told_so():
    async with gateway(FakeVllm()) as client:
        asking = {"Origin": "https://attacker.example", "Access-Control-Request-Method": "POST"}
        for path in POSTS:
            told = await client.options(path, headers=asking)
            assert told.status_code == 405
            assert not [name for name in told.headers if name.startswith("access-control-")]


async def test_sighup_takes_over_a_new_admin_key_but_not_that_there_is_none(tmp_path: Path):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    written = secrets / "rerank_admin_key"
    written.write_text("old-secret\n")
    async with FakeVllm().running() as worker, running("serve", worker, SECRETS_DIR=str(secrets)) as command:
        await command.until_usable()
        async with httpx.AsyncClient(base_url=command.url, timeout=20) as client:
            assert [await statuses(client, **bearer(key)) for key in ("old-secret", "new-secret")] == [LET_IN, {401}]
            written.write_text("new-secret\n")
            assert "needs_restart" not in await hang_up(command)
            assert [await statuses(client, **bearer(key)) for key in ("old-secret", "new-secret")] == [{401}, LET_IN]
            written.unlink()
            assert "no admin key is left" in str((await hang_up(command, "reload_refused"))["reason"])
            assert [await statuses(client, **bearer(key)) for key in ("old-secret", "new-secret")] == [{401}, LET_IN]
            assert await statuses(client) == {401}
        assert "secret" not in command.text.replace(str(secrets), "")
