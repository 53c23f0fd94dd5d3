"""The page in a browser, as a visitor has it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from playwright.async_api import Browser, Page, Playwright, expect

# What a browser says of an answer that is no success; whether it should be one is for each test to tell.
_NO_SUCCESS = "Failed to load resource"


def chromium_path() -> str | None:
    """The Chromium that `TEST_CHROMIUM` names, or the system's."""
    return os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")


@asynccontextmanager
async def chromium(playwright: Playwright) -> AsyncIterator[Browser]:
    """A running browser."""
    # Root's Chromium starts without its sandbox only.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = await playwright.chromium.launch(executable_path=chromium_path(), args=arguments)
    yield browser
    await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, gateway: httpx.AsyncClient | str, path: str = "/ui", **context: Any
) -> AsyncIterator[Page]:
    """The page with its workers shown. At the end nothing went wrong in it, and it asked nobody but its gateway."""
    home = (gateway if isinstance(gateway, str) else str(gateway.base_url)).rstrip("/")
    visitor = await browser.new_context(reduced_motion="reduce", **context)
    visitor.set_default_timeout(10_000)
    page = await visitor.new_page()
    problems: list[str] = []
    requested: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: requested.append(request.url))
    await page.goto(home + path)
    await expect(page.locator("#summary")).to_contain_text("usable")
    yield page
    await visitor.close()
    assert not [problem for problem in problems if not problem.startswith(_NO_SUCCESS)]
    assert requested
    assert not [url for url in requested if not url.startswith(home)]


async def ask(page: Page, query: str, documents: str) -> None:
    """Fill in the playground and send it."""
    await page.get_by_label("Query").fill(query)
    await page.get_by_label("Documents", exact=True).fill(documents)
    await page.get_by_role("button", name="Rank").click()


async def ranking(page: Page, length: int) -> list[str]:
    """The texts of the ranking once it has `length` of them."""
    items = page.locator("#ranking > li")
    await expect(items).to_have_count(length)
    return [text or "" for text in await items.locator(".text").all_text_contents()]
