"""Whatever is written in a document, a name or an error is text on the page, never part of it."""

from playwright.async_api import Browser, expect

from app.errors import Unavailable
from app.main import create_app
from app.settings import Settings
from app.workers.lexical import LexicalLink
from app.workers.link import Identity, WorkerLink
from tests.fake_vllm import FakeVllm, status
from tests.page.browsing import ask, opened, ranking
from tests.running import gateway, serving

HOSTILE = "<img src=x onerror=\"alert('in')\"><script>alert(1)</script>&lt;b&gt;"


class _HostileLink(LexicalLink):
    """A worker with a name that nobody should have."""

    def __init__(self) -> None:
        super().__init__()
        self.name = f"well {HOSTILE}"


class _HostileTrouble(LexicalLink):
    """A worker whose error is not kind to pages."""

    def __init__(self) -> None:
        super().__init__()
        self.name = f"ill {HOSTILE}"

    async def identify(self) -> Identity:
        raise Unavailable(f"{self.name} says {HOSTILE}")


async def test_documents_queries_and_snippets_are_text(browser: Browser):
    async with gateway(FakeVllm()) as client, opened(browser, client) as page:
        await ask(page, HOSTILE, f"{HOSTILE}\nsomething else")
        assert set(await ranking(page, 2)) == {HOSTILE, "something else"}
        for tongue in ("curl", "Python", "Milvus"):
            await page.get_by_role("radio", name=tongue).check()
            await expect(page.locator("#snippet")).to_contain_text("<script>alert(1)</script>")
        await expect(page.locator("img, body script")).to_have_count(0)


async def test_names_of_workers_and_models_and_their_problems_are_text(browser: Browser):
    def connect_to(url: str, _: Settings) -> WorkerLink:
        return _HostileLink() if "well" in url else _HostileTrouble()

    app = create_app(Settings(workers=("http://well:1", "http://ill:1")), link_factory=connect_to)
    async with serving(app) as url, opened(browser, url) as page:
        await expect(page.locator("#workers .name").first).to_have_text(f"well {HOSTILE}")
        await expect(page.locator("#workers .problem").nth(1)).to_contain_text(f"says {HOSTILE}")
        await page.get_by_role("button", name="Drain").first.click()
        await expect(page.locator("#confirm-text")).to_contain_text(HOSTILE)
        await expect(page.locator("img, body script")).to_have_count(0)


async def test_models_and_errors_are_text(browser: Browser):
    worker = FakeVllm(model=HOSTILE, always=status(400, f"no: {HOSTILE}"))
    async with gateway(worker) as client, opened(browser, client) as page:
        await expect(page.locator("#workers")).to_contain_text(HOSTILE)
        await expect(page.locator("#model option")).to_have_text(["the gateway’s default", HOSTILE])  # noqa: RUF001 - as the page has it
        await ask(page, "q", "a")
        await expect(page.locator("#answer-error")).to_contain_text(HOSTILE)
        await expect(page.locator("img, body script")).to_have_count(0)
