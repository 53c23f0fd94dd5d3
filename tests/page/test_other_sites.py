"""A page of another site, in a browser, which keeps the rules."""

from typing import Any

from playwright.async_api import Browser
from starlette.responses import HTMLResponse

from tests.fake_vllm import FakeVllm
from tests.running import gateway, serving

CALL = """async ([url, path, key]) => {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${key}`, "X-Request-Id": "from-afar" };
    const body = JSON.stringify({ query: "q", documents: ["a", "b"] });
    try {
        const call = path === "/admin/workers" ? { headers } : { method: "POST", headers, body };
        const answer = await fetch(url + path, call);
        return [answer.status, answer.headers.get("X-Request-Id"), Object.keys(await answer.json())];
    } catch (error) {
        return String(error);
    }
}"""
BLOCKED = "TypeError: Failed to fetch"


async def heard(browser: Browser, **settings: Any) -> list[Any]:
    """What a page of another site hears from the scoring route, with a wrong key too, and from `/admin`."""
    page = await browser.new_page()
    async with serving(HTMLResponse("<title>another site</title>")) as elsewhere:
        await page.goto(elsewhere)
        if settings.get("cors_origins") == ("this page",):
            settings["cors_origins"] = (elsewhere,)
        async with gateway(FakeVllm(), api_keys="one:hush", **settings) as client:
            url = str(client.base_url).rstrip("/")
            calls = [("/v1/rerank", "hush"), ("/v1/rerank", "wrong"), ("/admin/workers", "hush")]
            answers = [await page.evaluate(CALL, [url, path, key]) for path, key in calls]
    await page.close()
    return answers


async def test_a_listed_page_reads_answers_and_errors_but_not_the_administration(browser: Browser):
    for origins in (("this page",), ("*",)):
        ranked, refused, admin = await heard(browser, cors_origins=origins)
        assert ranked[:2] == [200, "from-afar"]
        assert "results" in ranked[2]
        assert refused[:2] == [401, "from-afar"]
        assert admin == BLOCKED


async def test_a_page_that_is_not_listed_hears_nothing(browser: Browser):
    for settings in ({}, {"cors_origins": ("https://page.example",)}):
        assert await heard(browser, **settings) == [BLOCKED] * 3
