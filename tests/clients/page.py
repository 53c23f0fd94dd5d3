"""The page docs/clients.md, as clients.yaml has it."""

from collections.abc import Iterable, Iterator, Mapping

from tests.clients.catalog import (
    ELSEWHERE,
    FIXED,
    INSTALLED,
    RECORDINGS,
    Client,
    Elsewhere,
    Fixed,
    Installed,
    Recorded,
    Shown,
)

_INTRODUCTION = """\
# Clients

<!-- Written by docs/generate.py from tests/clients/clients.yaml. Change the clients there, then run `make docs`. -->

What to write where a client asks for an address, when the gateway is `http://gateway:8080`. All this is tried: a client
runs, or the bytes it sends are replayed, and what it makes of the answer is the model's ranking and scores.

- Its key is one of `RERANK_API_KEYS`. Where the gateway has none, any text will do for a client that insists on a key.
- Its model is one that `GET /v1/models` lists. A name of its own that it can't be talked out of becomes an
  [alias](configuration.md#models).
- It shows its user the gateway's own words about an error, unless the row says otherwise.

A client that isn't here most likely takes `http://gateway:8080/v1` or, where it wants the whole URL,
`http://gateway:8080/v1/rerank`. [api.md](api.md#shapes) lists the shapes of requests.
"""
_PART = """
## {title}

{how}

| client | version | base URL | what to know |
|---|---|---|---|
"""
_SHOWN: Mapping[Shown, str] = {
    "its words": "",
    "another error": "Of an error it shows the status at most.",
    "nothing": "**An error shows in its log only: the documents come back unranked.**",
}


def clients() -> str:
    """The page about the clients."""
    return "".join(
        (
            _INTRODUCTION,
            *_part("Milvus", "The tests that are named hold these.", _versioned(ELSEWHERE)),
            *_part("Python", "`make clients` installs and runs these.", _installed(on_node=False)),
            *_part("JavaScript", "`make clients` installs and runs these.", _installed(on_node=True)),
            *_part(
                "Applications",
                "These can't be installed here: what their source of that version sends is replayed.",
                _versioned(RECORDINGS),
            ),
            *_part(
                "Without a base URL",
                "These call one address, and nobody can change it. They aren't tried.",
                _versioned(FIXED),
            ),
        )
    )


def _versioned(rows: Iterable[Elsewhere | Recorded | Fixed]) -> Iterator[tuple[Client, str]]:
    yield from ((row, row.version) for row in rows)


def _installed(*, on_node: bool) -> Iterator[tuple[Client, str]]:
    for environment, rows in INSTALLED.items():
        if environment.is_node is on_node:
            yield from ((row, f"`{row.package}` {environment.pins[row.package]}") for row in rows)


def _part(title: str, how: str, rows: Iterable[tuple[Client, str]]) -> Iterator[str]:
    yield _PART.format(title=title, how=how)
    for row, version in rows:
        url = f"`http://gateway:8080{row.path}` in {row.written}" if row.written else "none"
        yield f"| {row.name} | {version} | {url} | {' '.join(_facts(row))} |\n"


def _facts(row: Client) -> Iterator[str]:
    """What to know, one sentence after the other."""
    if isinstance(row, Installed):
        if row.also:
            yield f"Also {', '.join(f'`{path}`' if path else 'without a path' for path in row.also)}."
        if not row.sends_key:
            yield "Sends no key."
    if row.note:
        yield row.note
    if isinstance(row, Installed):
        if row.tries_again:
            yield "Tries again after a 503."
        if row.stretches:
            yield "Stretches the scores of each answer to 0..1."
    if isinstance(row, Elsewhere):
        yield f"`{row.test}`"
    if _SHOWN[row.shown]:
        yield _SHOWN[row.shown]
