"""The page shows workers as they are, and drains them."""

import re
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from playwright.async_api import Browser, Locator, Page, expect

from tests.fake_vllm import FakeVllm
from tests.page.browsing import opened
from tests.running import gateway, rerank


async def test_a_worker_is_seen_going_down_and_coming_back(browser: Browser):
    stays, goes = FakeVllm(), FakeVllm()
    async with AsyncExitStack() as life:
        await life.enter_async_context(goes.running())
        async with gateway(stays, goes, probe_interval_s=0.2) as client, opened(browser, client) as page:
            await expect(row(page, goes)).to_contain_text("Usable")
            await life.aclose()
            await expect(row(page, goes)).to_contain_text("refused", timeout=15_000)
            await expect(page.locator("#summary")).to_contain_text("1 of 2 workers are usable")
            await expect(page.locator("#news")).to_contain_text("refused")
            async with goes.running(port=urlsplit(goes.url).port or 0):
                await expect(row(page, goes)).to_contain_text("Usable", timeout=15_000)
                await expect(page.locator("#summary")).to_contain_text("All 2 workers are usable")


async def test_what_is_in_flight_is_shown_against_the_limit(browser: Browser):
    worker = FakeVllm()
    async with gateway(worker) as client, opened(browser, client) as page:
        await expect(row(page, worker)).to_contain_text("0 of 64")
        await rerank(client, ["one", "two"])
        await expect(row(page, worker)).to_contain_text("ago")
        await expect(row(page, worker)).to_contain_text("tiny-reranker, 512 tokens, vLLM 0.32.0")


async def test_a_worker_is_drained_and_undrained(browser: Browser):
    workers = FakeVllm(), FakeVllm()
    async with gateway(*workers) as client, opened(browser, client) as page:
        await row(page, workers[0]).get_by_role("button").click()
        await expect(row(page, workers[0])).to_contain_text("Drained")
        await rerank(client, [f"document {number}" for number in range(100)])
        assert workers[1].scored
        assert not workers[0].scored
        await row(page, workers[0]).get_by_role("button", name="Undrain").click()
        await expect(row(page, workers[0])).to_contain_text("Usable")


async def test_the_last_usable_worker_is_drained_only_after_a_yes(browser: Browser):
    worker = FakeVllm()
    async with gateway(worker) as client, opened(browser, client) as page:
        dialog = page.get_by_role("dialog")
        for answer, state in (("Keep it", "Usable"), ("Drain anyway", "Drained")):
            await page.get_by_role("button", name="Drain").click()
            await expect(dialog).to_contain_text("its clients get 503")
            await page.get_by_role("button", name=answer).click()
            await expect(dialog).to_be_hidden()
            await expect(row(page, worker)).to_contain_text(state)


async def test_a_gateway_that_does_not_answer_is_said_to_and_comes_back_by_itself(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await expect(page.locator("#lost")).to_be_hidden()
        await page.context.set_offline(True)
        await expect(page.get_by_role("alert").first).to_contain_text("What is shown is from")
        await expect(page.locator("body.stale")).to_be_visible()
        await page.context.set_offline(False)
        await expect(page.locator("#lost")).to_be_hidden()
        await expect(page.locator("#news")).to_have_text("The gateway answers again.")


async def test_an_answer_that_is_not_the_gateways_is_not_taken_for_one(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await page.route(
            "**/admin/stats", lambda route: route.fulfill(content_type="text/html", body="<h1>Sign in</h1>")
        )
        await expect(page.locator("#lost")).to_contain_text("something between here and there")
        await page.unroute("**/admin/stats")
        await expect(page.locator("#lost")).to_be_hidden()


async def test_the_charts_say_in_words_what_they_show(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await rerank(client, ["one"])
        chart = page.get_by_role("img", name="Requests per second")
        await expect(chart).to_have_accessible_name(
            re.compile(r"^Requests per second: [\d.]+ now, [\d.]+ to [\d.]+ in the last 5 minutes$")
        )
        await expect(chart.locator("path.line")).not_to_have_count(0)


def row(page: Page, worker: FakeVllm) -> Locator:
    return page.get_by_role("row").filter(has_text=urlsplit(worker.url).netloc)
