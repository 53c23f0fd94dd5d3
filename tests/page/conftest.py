"""A browser: Debian's Chromium, since it comes with the system and is asked for nothing of its own."""

import os
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from tests.page.browsing import chromium, chromium_path


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if chromium_path() is None:
        missing = "no chromium is found: install Debian's, or name one in TEST_CHROMIUM"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    async with async_playwright() as playwright, chromium(playwright) as running:
        yield running
