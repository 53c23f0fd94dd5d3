"""The first ranking that `demo` shows, with a command for another."""

import time
from contextlib import suppress
from typing import Any

import httpx
from rich.console import Console
from rich.table import Column, Table

from app.api.dialects.base import DOCUMENTS, QUERY
from app.settings import Settings


def show_ranking(settings: Settings) -> None:
    """Send the documentation's example to the gateway that is starting, and print its ranking and where to go on."""
    console = Console()
    url = settings.own_url
    secret = next(iter(settings.keys.values()), None)
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    results = _first_ranking(url, headers)
    if results is None:
        console.print(f"[red]No ranking from {url} in 30 s; the log above says why.[/red]")
        return
    numbers = [Column(name, justify="right") for name in ("rank", "score")]
    table = Table(*numbers, "document", title=QUERY, title_justify="left")
    for place, result in enumerate(results, start=1):
        table.add_row(str(place), f"{result['relevance_score']:.4f}", result["document"]["text"])
    console.print(table)
    if not settings.workers:
        console.print(
            "Scored by the embedded lexical worker: words in common, no neural model. Set RERANK_WORKERS for vLLM."
        )
    quoted = ", ".join(f'"{text}"' for text in DOCUMENTS)
    console.print("\nTry it yourself:\n", style="bold")
    key = "  -H 'Authorization: Bearer YOUR_KEY' \\\n" if headers else ""
    print(  # noqa: T201 - rich would wrap the command, and it is there to be copied
        f"curl {url}/v1/rerank \\\n  -H 'Content-Type: application/json' \\\n{key}"
        f'  -d \'{{"query": "{QUERY}", "documents": [{quoted}]}}\'\n\n'
        f"Serving on {url} (API: {url}/docs). Ctrl-C stops it.",
        flush=True,
    )


def _first_ranking(url: str, headers: dict[str, str]) -> list[dict[str, Any]] | None:
    call = {"query": QUERY, "documents": DOCUMENTS}
    # A proxy of the environment has no way to this machine, where our own process has a certificate for another name.
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False, verify=False) as client:  # noqa: S501 - see above
        for _ in range(300):
            with suppress(httpx.HTTPError):
                results: list[dict[str, Any]] = (
                    client.post("/v1/rerank", json=call).raise_for_status().json()["results"]
                )
                return results
            time.sleep(0.1)
    return None
