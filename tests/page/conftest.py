"""A browser: Debian's Chromium, since it comes with the system and is asked for nothing of its own."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        missing = "no chromium is found: install Debian's, or name one in TEST_CHROMIUM"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    async with async_playwright() as playwright:
        # Root's Chromium starts without its sandbox only.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        await browser.close()
