"""The playground ranks, tells what it cost, and shows errors so that something can be done about them."""

import json
import re

from playwright.async_api import Browser, Page, expect

from tests.fake_vllm import FakeVllm, altered, hang, score_of, status
from tests.page.browsing import ask, opened, ranking
from tests.running import gateway

DOCUMENTS = ["alpha", "beta", "gamma", "delta"]


def best_first(query: str) -> list[str]:
    return sorted(DOCUMENTS, key=lambda document: -score_of(query, document))


async def test_it_ranks_documents_one_per_line(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await ask(page, "q", "\n\n".join(DOCUMENTS) + "\n ")
        assert await ranking(page, 4) == best_first("q")
        score = score_of("q", best_first("q")[0])
        await expect(page.locator("#ranking > li").first).to_contain_text(f"{score:.4f}")
        bar = page.locator("#ranking .bar > span").first
        share = await bar.evaluate("bar => bar.offsetWidth / bar.parentElement.offsetWidth")
        assert abs(share - score) < 0.02
        await expect(page.locator("#answer-summary")).to_contain_text("4 documents ranked by tiny-reranker in")


async def test_it_ranks_a_json_list_and_sends_what_was_chosen(browser: Browser):
    async with gateway(FakeVllm(), models={"tiny-reranker": {"aliases": ("tiny",)}}) as client:
        async with opened(browser, client) as page:
            await page.get_by_label("Model").select_option("tiny")
            await page.get_by_label("top_n").fill("2")
            await page.get_by_label("Cache", exact=True).select_option("no-store")
            given = json.dumps([*DOCUMENTS[:2], *({"text": text} for text in DOCUMENTS[2:])])
            async with page.expect_request("**/rerank") as sent:
                await ask(page, "q", given)
            assert await ranking(page, 2) == best_first("q")[:2]
        request = await sent.value
        assert request.post_data_json == {
            "query": "q",
            "documents": json.loads(given),
            "model": "tiny",
            "top_n": 2,
        }
        assert request.headers["x-rerank-cache"] == "no-store"


async def test_what_looks_like_a_json_list_and_is_none_is_read_as_lines_and_said_to_be(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await page.get_by_label("Documents", exact=True).fill('["one",\n"two"')
        await expect(page.locator("#documents-read")).to_contain_text(
            "2 documents, one per line: it begins like a JSON"
        )


async def test_documents_are_marked_as_cached_only_when_all_are(browser: Browser):
    async with gateway(FakeVllm(), cache=True) as client, opened(browser, client) as page:
        for asked, known, marks in (
            ("a\nb", "0 of 2", 0),
            ("a\nb\nc\nc", "2 of 3 different", 0),
            ("b\na", "2 of 2", 2),
        ):
            await ask(page, "q", asked)
            await expect(page.locator("#timings")).to_contain_text(known)
            await expect(page.locator("#ranking .hit:visible")).to_have_count(marks)


async def test_the_times_and_the_request_id_are_the_gateways(browser: Browser):
    async with gateway(FakeVllm(fixed_s=0.05)) as client, opened(browser, client) as page:
        async with page.expect_response("**/rerank") as answered:
            await ask(page, "q", "a\nb")
        answer = await answered.value
        await ranking(page, 2)
        shown = dict(zip(await texts(page, "#timings dt"), await texts(page, "#timings dd"), strict=True))
        assert shown["Request id"] == await answer.header_value("x-request-id")
        assert re.fullmatch(r"\d+ ms", shown["Workers"])
        assert {"From the cache", "Cache", "Gateway in all", "Seen from here", "Tokens"} <= shown.keys()


async def test_the_key_is_asked_for_only_where_one_is_needed_and_sent_to_nobody_else(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await expect(page.get_by_label("API key")).to_be_hidden()
    async with gateway(FakeVllm(), api_keys={"someone": "secret"}) as client, opened(browser, client) as page:
        await ask(page, "q", "a\nb")
        await expect(page.locator("#answer-error")).to_contain_text("401")
        await expect(page.locator("#answer-error")).to_contain_text("Enter one of the")
        await page.get_by_label("API key").fill("secret")
        async with page.expect_request("**/admin/stats") as watched:
            await page.get_by_role("button", name="Rank").click()
            await ranking(page, 2)
        assert "authorization" not in await (await watched.value).all_headers()
        await expect(page.locator("#answer-error")).to_be_hidden()
        assert "secret" not in await page.locator("body").inner_text()
        assert await page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0


async def test_an_error_says_what_where_and_how_the_log_knows_it(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        async with page.expect_response("**/rerank") as answered:
            await ask(page, "q", '["fine", 7]')
        error = page.locator("#answer-error")
        await expect(error).to_have_role("alert")
        for part in ("400 BadRequestError", "documents[1]", "send a string", "At fault: documents[1]"):
            await expect(error).to_contain_text(part)
        request_id = await (await answered.value).header_value("x-request-id")
        assert request_id
        await expect(error).to_contain_text(request_id)
        await expect(page.locator("#ranking > li")).to_have_count(0)


async def test_that_no_worker_can_serve_is_said(browser: Browser):
    worker = FakeVllm(always=status(500, "out of memory"))
    async with gateway(worker) as client, opened(browser, client) as page:
        await ask(page, "q", "a")
        for part in ("503 ServiceUnavailableError", "out of memory", "The list of workers above", "request id"):
            await expect(page.locator("#answer-error")).to_contain_text(part)


async def test_a_request_can_be_stopped(browser: Browser):
    async with gateway(FakeVllm(always=hang)) as client, opened(browser, client) as page:
        await ask(page, "q", "a")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator("#answer-summary")).to_have_text("Stopped.")
        await expect(page.get_by_role("button", name="Rank")).to_be_enabled()


async def test_scores_that_are_no_probabilities_have_bars_between_the_lowest_and_the_highest(browser: Browser):
    def logits(answer: dict[str, list[dict[str, float]]]) -> None:
        for place, row in enumerate(answer["data"]):
            row["score"] = -4.0 + 3 * place

    async with gateway(FakeVllm(always=altered(logits))) as client, opened(browser, client) as page:
        await ask(page, "q", "a\nb\nc")
        assert await ranking(page, 3) == ["c", "b", "a"]
        shares = "bars => bars.map(bar => Number(bar.style.getPropertyValue('--share')))"
        assert await page.locator("#ranking .bar > span").evaluate_all(shares) == [1, 0.5, 0]


async def test_a_long_document_is_collapsed(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await ask(page, "q", "word " * 200)
        collapsed = page.locator("#ranking details")
        await expect(collapsed.locator("p")).to_be_hidden()
        await collapsed.locator("summary").click()
        await expect(collapsed.locator("p")).to_have_text(("word " * 200).strip())


async def texts(page: Page, selector: str) -> list[str]:
    return await page.locator(selector).all_inner_texts()
