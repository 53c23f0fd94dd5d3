"""Discovery of workers. Each kind of source is one file here; nothing else in the program knows it exists."""

from collections.abc import Sequence
from random import Random

from app.settings.addresses import LEXICAL, dns_name, scheme_of, service
from app.workers.discovery.dns import Dns
from app.workers.discovery.source import Source
from app.workers.discovery.static import StaticSource


def sources(addresses: Sequence[str], rng: Random) -> list[Source]:
    """The sources that checked entries of `RERANK_WORKERS` stand for; the embedded worker when there are none.

    Args:
        addresses: URLs of workers, and of places to look for workers, in any order.
        rng: Jitter.
    """
    found: list[Source] = []
    urls: list[str] = []
    for address in dict.fromkeys(addresses):
        match scheme_of(address):
            case "dns":
                found.append(Dns(dns_name(address), rng=rng))
            case "kubernetes":
                # Loading httpx takes a twentieth of the start, which only those pay who use it.
                from app.workers.discovery.kubernetes import Kubernetes  # noqa: PLC0415

                found.append(Kubernetes(service(address), rng=rng))
            case _:
                urls.append(address)
    if urls or not found:
        found.insert(0, StaticSource(urls or [LEXICAL]))
    return found
