"""Discovery of workers. Each kind of source is one file here; nothing else in the program knows it exists."""

from collections.abc import Callable, Sequence
from random import Random

from app.settings.addresses import LEXICAL, dns_name, scheme_of, service
from app.workers.discovery.dns import Dns
from app.workers.discovery.kubernetes import Kubernetes
from app.workers.discovery.source import Source
from app.workers.discovery.static import StaticSource

_SEARCHES: dict[str, Callable[[str, Random], Source]] = {
    "dns": lambda address, rng: Dns(dns_name(address), rng=rng),
    "kubernetes": lambda address, rng: Kubernetes(service(address), rng=rng),
}


def sources(addresses: Sequence[str], rng: Random) -> list[Source]:
    """The sources that checked entries of `RERANK_WORKERS` stand for; the embedded worker when there are none.

    Args:
        addresses: URLs of workers, and of places to look for workers, in any order.
        rng: Jitter.
    """
    urls = [address for address in addresses if scheme_of(address) not in _SEARCHES]
    written = [StaticSource(urls or [LEXICAL])] if urls or not addresses else []
    searches = [address for address in dict.fromkeys(addresses) if scheme_of(address) in _SEARCHES]
    return [*written, *(_SEARCHES[scheme_of(address)](address, rng) for address in searches)]
