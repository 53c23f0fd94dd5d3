"""The page comes from the gateway alone, wherever it is mounted and whoever guards it."""

import pytest
from playwright.async_api import Browser, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from app.settings import Settings
from tests.fake_vllm import FakeVllm
from tests.page.browsing import ask, opened, ranking
from tests.running import gateway, serving


@pytest.mark.parametrize("path", ["/ui", "/ui/"])
async def test_it_loads_without_an_error_and_asks_nobody_else(browser: Browser, path: str):
    async with gateway(FakeVllm()) as client, opened(browser, client, path) as page:
        await expect(page.locator("#summary")).to_have_text("The worker is usable.", use_inner_text=True)
        await expect(page.locator("#workers tr")).to_have_count(1)
        assert await page.title() == "rerank-gateway"
        # Styled, and its script has run.
        assert await page.evaluate("getComputedStyle(document.body).maxWidth") == "1180px"
        await expect(page.get_by_role("img")).to_have_count(4)


@pytest.mark.parametrize("path", ["/ui", "/ui/"])
async def test_it_works_under_a_prefix(browser: Browser, path: str):
    async with serving(_Ingress(create_app(Settings()))) as url, opened(browser, f"{url}/gpu/rerank", path) as page:
        await ask(page, "paris", "berlin\nparis")
        assert await ranking(page, 2) == ["paris", "berlin"]
        assert f"{url}/gpu/rerank/rerank" in await page.locator("#snippet").inner_text()


async def test_the_browsers_own_password_is_enough_where_an_admin_key_is_set(browser: Browser):
    password = {"username": "any", "password": "operator"}
    async with (
        gateway(FakeVllm(), FakeVllm(), admin_key="operator") as client,
        opened(browser, client, http_credentials=password) as page,
    ):
        await page.get_by_role("button", name="Drain").first.click()
        await expect(page.get_by_role("button", name="Undrain")).to_have_count(1)


async def test_a_refusal_is_shown_until_it_is_lifted(browser: Browser):
    right, wrong = ({"Authorization": f"Bearer {key}"} for key in ("operator", "other"))
    async with (
        gateway(FakeVllm(), admin_key="operator") as client,
        opened(browser, client, extra_http_headers=right) as page,
    ):
        await page.context.set_extra_http_headers(wrong)
        await expect(page.locator("#lost")).to_contain_text("The admin key is needed")
        await page.context.set_extra_http_headers(right)
        await expect(page.locator("#lost")).to_be_hidden()


class _Ingress:
    """Serves what is behind it under a prefix that it takes off, as an ingress with a rewrite does."""

    def __init__(self, app: ASGIApp, prefix: str = "/gpu/rerank") -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert scope["path"].startswith(self._prefix), scope["path"]
            scope["path"] = scope["path"].removeprefix(self._prefix)
            scope["raw_path"] = scope["raw_path"].removeprefix(self._prefix.encode())
        await self._app(scope, receive, send)
