"""What is copied from the playground does what the playground did, whatever was typed."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping

import pytest
from playwright.async_api import Browser, Page, expect

from tests.fake_vllm import FakeVllm
from tests.page.browsing import opened
from tests.running import gateway

QUERY = "it's \"so\": $HOME `id` \\n \\\\ !x %s {a}\n@file ünï 🙂 \u2028 -d 'x'"
DOCUMENTS = [
    "'",
    '"',
    "\\",
    "\\'",
    "a\nb\r\n\tc",
    "$(touch /tmp/x) ${x}",
    "'''\"\"\"",
    "{'a': None}",
    "🙂\x7f",
    "</script>",
]


async def snippet(page: Page, tongue: str) -> str:
    """The call in one tongue, for a query and documents that are hard to quote."""
    await page.get_by_label("Query").fill(QUERY)
    await page.get_by_label("Documents", exact=True).fill(json.dumps([*DOCUMENTS, {"text": "object"}]))
    await page.get_by_label("top_n").fill("3")
    await page.get_by_label("Cache", exact=True).select_option("no-store")
    await page.get_by_role("radio", name=tongue).check()
    return await page.locator("#snippet").text_content() or ""


async def output(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command wrote; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})}
    )
    async with asyncio.timeout(30):
        written, _ = await process.communicate()
    assert process.returncode == 0
    return written.decode()


@pytest.mark.parametrize("shell", ["bash", "sh"])
async def test_curl_sends_the_very_same(browser: Browser, shell: str):
    worker = FakeVllm()
    async with gateway(worker, api_keys={"someone": "s3cret$"}) as client, opened(browser, client) as page:
        await expect(page.get_by_label("API key")).to_be_visible()
        answer = await output(shell, "-c", await snippet(page, "curl"), env={"API_KEY": "s3cret$"})
    assert len(json.loads(answer)["results"]) == 3
    assert_sent(worker)


async def test_python_sends_the_very_same(browser: Browser):
    worker = FakeVllm()
    async with gateway(worker, api_keys={"someone": "s3cret$"}) as client, opened(browser, client) as page:
        await expect(page.get_by_label("API key")).to_be_visible()
        printed = await output(sys.executable, "-c", await snippet(page, "Python"), env={"API_KEY": "s3cret$"})
    assert len(printed.splitlines()) == 3
    assert_sent(worker)


async def test_milvus_gets_the_query_and_an_endpoint_of_the_gateway(browser: Browser):
    async with gateway(FakeVllm(), api_keys={"someone": "s3cret/$"}) as client, opened(browser, client) as page:
        await expect(page.get_by_label("API key")).to_be_visible()
        await page.get_by_label("Model").select_option("tiny-reranker")
        code = await snippet(page, "Milvus")
        assert "limit=3" in code
        shown = "import json\nprint(json.dumps(ranker.params))"
        written = await output(sys.executable, "-c", f"{code}\n{shown}", env={"API_KEY": "s3cret/$"})
        params = json.loads(written)
        host = re.sub("^http://", "", str(client.base_url)).rstrip("/")
    assert params["endpoint"] == f"http://any:s3cret%2F%24@{host}?model=tiny-reranker&cache=no-store"
    queries = params["queries"]
    assert (json.loads(queries) if isinstance(queries, str) else queries) == [QUERY]
    assert params["provider"] == "vllm"


async def test_without_choices_the_calls_say_no_more_than_they_must(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        text = await page.locator("#snippet").text_content() or ""
        assert not re.findall("Cache|Authorization|model|top_n", text)
        await page.get_by_role("radio", name="Python").check()
        text = await page.locator("#snippet").text_content() or ""
        assert not re.findall("headers|os|model|top_n", text.replace("post", ""))


async def test_a_call_is_copied(browser: Browser):
    rights = ["clipboard-read", "clipboard-write"]
    async with gateway(FakeVllm()) as client, opened(browser, client, permissions=rights) as page:
        await page.get_by_role("button", name="Copy").click()
        await expect(page.locator("#copied")).to_have_text("Copied.")
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == await page.locator("#snippet").text_content()


async def test_where_there_is_no_clipboard_the_call_is_selected(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        await page.get_by_role("button", name="Copy").click()
        await expect(page.locator("#copied")).to_contain_text("Selected")
        assert await page.evaluate("String(getSelection())") == await page.locator("#snippet").text_content()


def assert_sent(worker: FakeVllm) -> None:
    """The worker got what was typed, to the last character."""
    calls = worker.scored
    assert {query for call in calls for query in call.queries} == {QUERY}
    assert [document for call in calls for document in call.documents] == [*DOCUMENTS, "object"]
