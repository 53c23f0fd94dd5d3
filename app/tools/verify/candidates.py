"""The workers to verify: discovered, connected to, and asked for their models."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from random import Random
from typing import NamedTuple

from app.aio import in_parallel
from app.errors import WorkerError
from app.settings import Settings
from app.settings.addresses import problem_with, without_password
from app.settings.certificates import Certificates
from app.types import Fingerprint
from app.workers.connect import connect
from app.workers.discovery import sources
from app.workers.discovery.source import Source
from app.workers.link import Identity, WorkerLink

# A Kubernetes API server may take 10 s to list.
_SEARCH_S = 12.0


class NotThere(Exception):
    """There is nothing to verify; the message says what is missing, and where."""


class Candidate(NamedTuple):
    """A worker and the model on it."""

    link: WorkerLink
    fingerprint: Fingerprint


@asynccontextmanager
async def serving(settings: Settings, model: str | None) -> AsyncIterator[list[Candidate]]:
    """The workers that serve the model, until the end of the block.

    Args:
        settings: Name the workers and how to connect to them.
        model: Its name; None when the workers serve only one, or the settings have a default.

    Raises:
        NotThere: a worker can't be found or doesn't answer, or which model is meant isn't clear.
        SettingsError: certificates can't be read.
    """
    for url in settings.workers:
        if problem := problem_with(url):
            raise NotThere(f"{without_password(url)} {problem}")
    tls = Certificates(settings).towards_workers
    async with AsyncExitStack() as stack:
        links = [connect(url, settings, tls) for url in await _urls(settings.workers)]
        for link in links:
            stack.push_async_callback(link.close)
        identities = await _identities(links)
        name = _model(identities, model or settings.default_model)
        found = [_candidate(link, identity, name, settings) for link, identity in identities.items()]
        yield [candidate for candidate in found if candidate]


async def _urls(addresses: Sequence[str]) -> list[str]:
    seen = await in_parallel([_seen(source) for source in sources(addresses, Random())])  # noqa: S311 - jitter
    return list(dict.fromkeys(url for urls in seen for url in urls))


async def _seen(source: Source) -> list[str]:
    """The first workers that a source discovers; later changes don't matter here."""
    seen: Mapping[str, bool] = {}
    try:
        async with asyncio.timeout(_SEARCH_S), aclosing(source.watch()) as watch:  # type: ignore[type-var] # all sources are generators
            seen = await anext(watch)
    except TimeoutError:
        pass
    ready = [url for url, is_ready in seen.items() if is_ready]
    if not ready:
        raise NotThere(f"no workers: {source.problem or f'{source.name} has none that is ready'}")
    return ready


async def _identities(links: Sequence[WorkerLink]) -> Mapping[WorkerLink, Identity]:
    answers = dict(zip(links, await in_parallel([_identity(link) for link in links]), strict=True))
    silent = [answer.message for answer in answers.values() if isinstance(answer, WorkerError)]
    if silent:
        raise NotThere("\n".join([*silent, "Start what is down, or leave it out: name the others with --worker."]))
    return {link: answer for link, answer in answers.items() if isinstance(answer, Identity)}


async def _identity(link: WorkerLink) -> Identity | WorkerError:
    try:
        return await link.identify()
    except WorkerError as exc:
        return exc


def _model(identities: Mapping[WorkerLink, Identity], wanted: str | None) -> str:
    names = sorted({model.name for identity in identities.values() for model in identity.models})
    if wanted in names:
        return wanted
    served = f"the workers serve {', '.join(names) or 'no model'}"
    if wanted:
        raise NotThere(f"no worker serves {wanted}: {served}")
    if len(names) != 1:
        raise NotThere(f"{served}: choose with --model")
    return names[0]


def _candidate(link: WorkerLink, identity: Identity, name: str, settings: Settings) -> Candidate | None:
    revision = settings.for_model(name).revision
    for model in identity.models:
        if model.name == name:
            return Candidate(link, Fingerprint(name, model.root, model.max_model_len, identity.version, revision))
    return None
