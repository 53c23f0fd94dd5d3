"""Everybody can use the page: by keyboard, by ear, on a phone, in the dark."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.fake_vllm import FakeVllm, status
from tests.page.browsing import ask, opened, ranking
from tests.running import gateway

CONTRAST = (Path(__file__).parent / "contrast.js").read_text().rpartition(";")[0]
PHONE = {"width": 375, "height": 812}
NAMED = {
    "button",
    "link",
    "textbox",
    "combobox",
    "spinbutton",
    "radio",
    "image",
    "table",
    "navigation",
    "region",
    "group",
}
LONG = "https://a-host-with-a-name-that-has-no-place-to-break.example/" + "x" * 300


async def fill(page: Page) -> None:
    """Bring up all there is to see: a ranking, or an error."""
    await ask(page, LONG, f"{LONG}\n{'word ' * 150}\nshort")
    await ranking(page, 3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, {"width": 1280, "height": 900}], ids=["phone", "desk"])
async def test_every_text_stands_out_from_its_background(browser: Browser, scheme: str, viewport: dict[str, int]):
    look: dict[str, Any] = {"color_scheme": scheme, "viewport": viewport}
    async with gateway(FakeVllm(), FakeVllm(), cache=True) as client, opened(browser, client, **look) as page:
        await page.get_by_role("button", name="Drain").first.click()
        await fill(page)
        await fill(page)
        await expect(page.locator("#ranking .hit:visible")).to_have_count(3)
        await assert_contrast(page)
        await ask(page, "q", "[1]")
        await expect(page.locator("#answer-error")).to_be_visible()
        await page.context.set_offline(True)
        await page.get_by_role("button", name="Drain").last.click()
        await expect(page.locator("#registry-error")).to_be_visible()
        await expect(page.locator("#lost")).to_be_visible()
        await assert_contrast(page)
        await page.context.set_offline(False)
        await expect(page.locator("#lost")).to_be_hidden()
        await page.get_by_role("button", name="Drain").last.click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await assert_contrast(page)


async def test_the_two_schemes_differ_and_follow_the_system(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client, color_scheme="light") as page:
        colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        light = await page.evaluate(colours)
        await page.emulate_media(color_scheme="dark")
        assert await page.evaluate(colours) != light


@pytest.mark.parametrize("width", [320, 375, 600, 800, 1280])
async def test_nothing_is_wider_than_the_screen(browser: Browser, width: int):
    look: dict[str, Any] = {"viewport": {"width": width, "height": 800}}
    workers = [FakeVllm(model=f"organisation/{'long' * 20}-reranker") for _ in range(2)]
    async with gateway(*workers, cache=True) as client, opened(browser, client, **look) as page:
        await fill(page)
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        for worker in workers:
            worker.always = status(400, LONG)
        await page.get_by_label("Model").select_option(index=1)
        await ask(page, "anew", "document")
        await expect(page.locator("#answer-error")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        for tongue in ("Python", "Milvus"):
            await page.get_by_role("radio", name=tongue).check()
            assert await page.evaluate("document.documentElement.scrollWidth") == width


async def test_every_control_has_a_name_and_every_part_its_place(browser: Browser):
    async with gateway(FakeVllm(), FakeVllm(), api_keys={"one": "secret"}) as client, opened(browser, client) as page:
        await expect(page.get_by_label("API key")).to_be_visible()
        nodes = await heard(page)
        roles = [role for role, _ in nodes]
        assert not [role for role, name in nodes if role in NAMED and not name.strip()]
        assert {"banner", "main", "contentinfo", "navigation", "table", "status"} <= set(roles)
        assert roles.count("columnheader") == 7
        assert roles.count("rowheader") == 2
        buttons = [name for role, name in nodes if role == "button"]
        assert len(buttons) == len(set(buttons)), "two buttons that sound the same"
        assert await page.locator("html").get_attribute("lang") == "en"


async def test_on_a_phone_the_workers_are_still_a_table_to_a_screen_reader(browser: Browser):
    async with gateway(FakeVllm(), FakeVllm()) as client, opened(browser, client, viewport=PHONE) as page:
        roles = [role for role, _ in await heard(page)]
        assert [roles.count(role) for role in ("table", "row", "columnheader", "rowheader")] == [1, 3, 7, 2]


async def test_headings_go_down_one_level_at_a_time(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        levels = await page.locator("h1, h2, h3, h4").evaluate_all(
            "headings => headings.filter(one => one.checkVisibility()).map(one => Number(one.tagName[1]))"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(below <= above + 1 for above, below in pairwise(levels))


async def test_ids_are_given_once_and_what_refers_to_one_finds_it(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        ids = await page.locator("[id]").evaluate_all("all => all.map(one => one.id)")
        assert len(ids) == len(set(ids))
        referring = "all => all.flatMap(one => ['aria-labelledby', 'aria-describedby', 'for']"
        referring += ".flatMap(name => (one.getAttribute(name) || '').split(' ').filter(Boolean)))"
        assert set(await page.locator("*").evaluate_all(referring)) <= set(ids)


async def test_all_can_be_done_with_the_keyboard_and_one_sees_where_one_is(browser: Browser):
    async with gateway(FakeVllm(), FakeVllm()) as client, opened(browser, client) as page:
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        await page.keyboard.press("Enter")
        await tab_to(page, "Drain")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Undrain")).to_be_focused()
        await tab_to(page, "Drain")
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Keep it")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(page.get_by_role("button", name="Drain", exact=False).last).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.get_by_label("Query")).to_be_focused()
        await page.keyboard.press("ControlOrMeta+a")
        await page.keyboard.type("typed")
        await page.keyboard.press("ControlOrMeta+Enter")
        await ranking(page, 5)
        await expect(page.locator("#answer-summary")).to_contain_text("5 documents ranked")
        await page.get_by_label("top_n").focus()
        await page.keyboard.type("2")
        await page.keyboard.press("ControlOrMeta+Enter")
        await ranking(page, 2)
        await tab_to(page, "curl", role="radio")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#snippet")).to_contain_text("import httpx")


async def test_what_changes_is_told_politely_and_numbers_that_tick_are_not(browser: Browser):
    async with gateway(FakeVllm(), FakeVllm()) as client, opened(browser, client) as page:
        await page.get_by_role("button", name="Drain").first.click()
        await expect(page.locator("#news")).to_contain_text("Drained")
        for selector in ("#news", "#answer-summary", "#copied"):
            await expect(page.locator(selector)).to_have_role("status")
        assert await page.locator(".live [aria-live], .live [role=status], .live [role=alert]").count() == 0


async def test_nothing_moves_for_whoever_wants_that(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await fill(page)
        assert await page.evaluate("document.getAnimations().length") == 0
        style = "bar => [getComputedStyle(bar).animationName, getComputedStyle(bar).transitionDuration]"
        assert (await page.locator("#ranking .bar > span").first.evaluate(style))[0] == "none"


async def tab_to(page: Page, name: str, role: Any = "button") -> None:
    """Press Tab until the control that begins with `name` has the focus; on the way, each shows that it has it."""
    outline = "getComputedStyle(document.activeElement.matches('[type=radio]') ? "
    outline += "document.activeElement.nextElementSibling : document.activeElement).outlineStyle"
    for _ in range(30):
        await page.keyboard.press("Tab")
        assert await page.evaluate(outline) == "solid"
        found = page.locator(":focus").and_(page.get_by_role(role))
        if await found.count():
            label = await found.get_attribute("aria-label") or await found.evaluate(
                "one => one.labels?.[0]?.innerText ?? ''"
            )
            if label.startswith(name):
                return
    raise AssertionError(name)


async def heard(page: Page) -> list[tuple[str, str]]:
    """What the browser tells a screen reader, as roles and names."""
    tree = await (await page.context.new_cdp_session(page)).send("Accessibility.getFullAXTree")
    shown = [node for node in tree["nodes"] if not node["ignored"]]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown]


async def assert_contrast(page: Page) -> None:
    found = await page.evaluate(CONTRAST)
    assert found["judged"] > 10
    assert not found["pale"]
