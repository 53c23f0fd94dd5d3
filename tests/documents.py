"""The pages of the documentation, and the fenced blocks in them with what is said about running them."""

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


class Block(NamedTuple):
    """A fenced block of a page.

    Args:
        page: Where it stands.
        line: The number of its fence's line.
        language: The word behind the fence.
        text: What it holds, without the indent of a list it stands in.
        mark: The comment in the line above: "serves", "needs " and names, or "not run: " and a reason; "" without one.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return not self.mark.startswith("not run: ")

    @property
    def needs(self) -> list[str]:
        """The commands and modules that not every machine has."""
        return self.mark.removeprefix("needs ").split(", ") if self.mark.startswith("needs ") else []


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages, in order; in any language when none is named."""
    return [block for page in PAGES for block in blocks_of(page) if not languages or block.language in languages]


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of one page, in order."""
    lines = enumerate(page.read_text().splitlines(), start=1)
    before = ""
    for number, line in lines:
        if line.lstrip().startswith("```"):
            text = [inner for _, inner in takewhile(lambda one: one[1].strip() != "```", lines)]
            mark = re.fullmatch(r" *<!-- (.+) -->", before)
            yield Block(page, number, line.strip("` "), dedent("\n".join(text)) + "\n", mark[1] if mark else "")
        before = line
