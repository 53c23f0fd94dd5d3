"""The clients that are tried, as clients.yaml declares them: docs/clients.md is made of it, tests hold it true."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from tests.clients.environments import Environment

MODEL = "BAAI/bge-reranker-v2-m3"
RECORDED = Path(__file__).with_name("recorded")

# What the user of a client sees of an error: the gateway's own words, another error, or none and an unchanged order.
Shown = Literal["its words", "another error", "nothing"]


class _Row(BaseModel):
    """What all rows tell.

    Args:
        name: What people call the client.
        path: What follows host and port in the address to write.
        written: Where the address is written.
        note: What else to know.
        shown: What its user sees of an error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: str = ""
    written: str = ""
    note: str = ""
    shown: Shown = "its words"

    def __str__(self) -> str:
        return self.name


class Installed(_Row):
    """A client that is installed and run.

    Args:
        package: Whose version is the client's.
        program: The function that uses it.
        also: Other paths that do as well.
        tries_again: Whether it does, unasked, after a 503.
        stretches: Whether it maps the scores to 0..1, the lowest to 0 and the highest to 1.
        sends_key: Whether it can send a key.
    """

    package: str
    program: str
    also: tuple[str, ...] = ()
    tries_again: bool = False
    stretches: bool = False
    sends_key: bool = True


class Recorded(_Row):
    """A client that can't be installed here: the request it sends is replayed, and the answer read as it does.

    Args:
        version: The one whose request it is.
        file: The request, in `tests/clients/recorded/`.
        first: What it asks before, with GET.
        model: The name it sends, when it knows no other.
        rows: Where the answer has its results; "" for a bare list.
        index: What a row's index is called; "" when rows come in the order of the documents.
        score: What a row's score is called.
        text: Where a row has the document's text; "" when the client doesn't look.
        only: All that a row may have; empty when the client ignores the rest.
        reads: Where the answer has whole numbers that the client insists on.
        error: Where it looks for the text of an error; "" when it shows the whole body.
    """

    version: str
    file: str
    first: str = ""
    model: str = ""
    rows: str = "results"
    index: str = "index"
    score: str = "relevance_score"
    text: str = ""
    only: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    error: str = ""


class Elsewhere(_Row):
    """A client that a test of its own holds.

    Args:
        version: The one that was tried.
        test: The test's file.
    """

    version: str
    test: str


class Fixed(_Row):
    """A client whose address nobody can change.

    Args:
        version: The one that was read.
    """

    version: str


class _Group(BaseModel):
    """The clients that are installed together."""

    model_config = ConfigDict(extra="forbid")

    programs: str
    pins: Mapping[str, str]
    clients: tuple[Installed, ...]


class _Catalog(BaseModel):
    """All of clients.yaml."""

    model_config = ConfigDict(extra="forbid")

    installed: Mapping[str, _Group]
    recorded: tuple[Recorded, ...]
    elsewhere: tuple[Elsewhere, ...]
    fixed: tuple[Fixed, ...]


_CATALOG = _Catalog.model_validate(yaml.safe_load(Path(__file__).with_name("clients.yaml").read_text()))
INSTALLED = {Environment(name, group.programs, group.pins): group.clients for name, group in _CATALOG.installed.items()}
RECORDINGS = _CATALOG.recorded
ELSEWHERE = _CATALOG.elsewhere
FIXED = _CATALOG.fixed

Client = Installed | Recorded | Elsewhere | Fixed
