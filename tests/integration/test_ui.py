"""The files of the page, as they are served and packaged."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.running import serving

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(path.name for path in (ROOT / "app" / "api" / "static").iterdir())
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


async def got(path: str, *, sent: dict[str, str] | None = None, **settings: Any) -> httpx.Response:
    async with serving(create_app(Settings(**settings))) as url, httpx.AsyncClient(base_url=url) as client:
        return await client.get(path, headers=sent)


@pytest.mark.parametrize("name", FILES)
async def test_every_file_has_its_type_and_may_do_nothing_but_its_work(name: str):
    answer = await got(f"/ui/{name}")
    assert answer.status_code == 200
    assert answer.content == (ROOT / "app" / "api" / "static" / name).read_bytes()
    assert answer.headers["content-type"].partition(";")[0] == TYPES[Path(name).suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert {policy.pop(rule) for rule in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert policy == dict.fromkeys(("script-src", "style-src", "connect-src", "img-src"), "'self'")


@pytest.mark.parametrize("path", ["/ui", "/ui/"])
async def test_with_a_slash_or_without_the_page_finds_its_parts(path: str):
    answer = await got(path)
    assert answer.status_code == 200
    parts = re.findall(r'(?:href|src)="(\S+\.\w+)"', answer.text)
    assert len(parts) == 5
    assert {str(answer.url.join(part).path) for part in parts} <= {f"/ui/{name}" for name in FILES}


@pytest.mark.parametrize(
    "name", ["page.py", "../api/page.py", "..%2fapi%2fpage.py", "%2e%2e/api/page.py", "x", ".", "//"]
)
async def test_there_is_nothing_but_the_page(name: str):
    answer = await got(f"/ui/{name}")
    assert answer.status_code == 404 or answer.content.startswith(b"<!doctype html>")
    assert b"import" not in answer.content


async def test_off_means_that_there_is_no_page():
    assert {(await got(path, ui=False)).status_code for path in ("/ui", "/ui/", "/ui/main.js")} == {404}


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/main.js"])
async def test_the_guard_stands_before_all_of_it(path: str):
    assert (await got(path, admin_key="operator")).status_code == 401
    assert (await got(path, admin_key="operator", sent={"Authorization": "Bearer operator"})).status_code == 200
    assert (await got(path, sent={"Host": "evil.example"})).status_code == 403


async def test_a_browser_prompts_for_the_key_when_the_page_is_opened_and_not_while_it_runs():
    answers = [await got("/ui", admin_key="operator", sent={"Sec-Fetch-Mode": mode}) for mode in ("navigate", "cors")]
    assert [answer.status_code for answer in answers] == [401, 401]
    challenges = [answer.headers["www-authenticate"].partition(" ")[0] for answer in answers]
    assert challenges == ["Basic", "Bearer"]


def test_the_page_names_no_other_place_and_holds_no_script_or_style_of_its_own():
    for path in (ROOT / "app" / "api" / "static").iterdir():
        text = path.read_text()
        assert not re.findall(r"https?://(?!www\.w3\.org/(?:2000/svg|1999/xhtml)\b)", text), path.name
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
            path.name
        )
    page = (ROOT / "app" / "api" / "static" / "index.html").read_text()
    assert not re.findall(r"<style|style=|\son\w+=|<script(?![^>]* src=)", page)


def test_the_page_is_in_the_wheel(tmp_path: Path):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = zipfile.ZipFile(wheel).namelist()
    assert {f"app/api/static/{name}" for name in FILES} <= set(packed)
