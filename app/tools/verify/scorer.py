"""The workers to verify, each asked for scores as the gateway asks it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from app.errors import AttemptTimeout, WorkerError
from app.policy import truncate
from app.policy.check_verdict import CheckResult
from app.policy.instruction import with_instruction
from app.policy.model_profile import ModelProfile
from app.policy.split import split
from app.policy.token_estimate import most_tokens, pair_tokens
from app.settings import Settings
from app.settings.addresses import problem_with, without_password
from app.settings.certificates import Certificates
from app.tools.discover import discover
from app.types import Answer, Fingerprint, Pairs, Side, text_of
from app.workers.call_ids import CallIds
from app.workers.check_scores import check
from app.workers.connect import connect
from app.workers.fingerprinter import Fingerprinter
from app.workers.link import WorkerLink
from app.workers.model_check import CHECK_PREFIX

# A Kubernetes API server may take 10 s to list.
_SEARCH_S = 12.0
# Long enough for a whole list on a slow machine; what takes longer hangs.
_CALL_LIMIT_S = 300.0
_REQUEST_ID = "rerank-gateway-verify"


class NotThere(Exception):
    """There is nothing to verify; the message says what is missing, and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores lists on one model of one worker.

    Args:
        link: The gateway's own way to the worker.
        fingerprint: The model, as the worker serves it.
        settings: Say how lists are cut, and what happens to long texts.
        profile: How the gateway treats the model.
        on_scored: Told how many documents have been scored, after every call.
    """

    link: WorkerLink
    fingerprint: Fingerprint
    settings: Settings
    profile: ModelProfile = field(default_factory=ModelProfile)
    on_scored: Callable[[int], None] = lambda _: None

    async def check(self) -> CheckResult:
        """What the gateway's check of the model finds, with more pairs than the gateway has time for.

        Raises:
            WorkerError: the worker didn't score them.
        """

        async def score(pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
            return (await self._call(pairs, fields, request_id=f"{CHECK_PREFIX}verify")).scores

        own = self.settings.for_model(self.fingerprint.model)
        return await check(score, self.fingerprint, own, is_thorough=True)

    async def score(self, pairs: Pairs) -> Answer:
        """The scores of one call.

        Raises:
            WorkerError: the worker gave none.
            BadInput: the query is too long for the model.
        """
        fields = await self._fields(pairs.queries[0])
        answer = await self._call(pairs, fields, request_id=_REQUEST_ID)
        self.on_scored(len(pairs))
        return answer

    async def _call(self, pairs: Pairs, fields: Mapping[str, object], *, request_id: str) -> Answer:
        try:
            async with asyncio.timeout(_CALL_LIMIT_S):
                return await self.link.score(self.fingerprint.model, pairs, fields, request_id=request_id)
        except TimeoutError:
            message = f"{self.link.name} didn't score {len(pairs)} documents in {_CALL_LIMIT_S:g} s"
            raise AttemptTimeout(message) from None

    def pieces(self, pairs: Pairs, max_batch: int) -> Sequence[Sequence[int]]:
        """The places of the pairs that go into each call, when a call may have `max_batch` of them."""
        return split(
            pair_tokens(pairs, self.fingerprint.max_model_len),
            workers=1,
            max_batch=max_batch,
            max_batch_tokens=self.settings.max_batch_tokens,
            min_batch=min(self.settings.min_batch, max_batch),
        )

    async def _fields(self, query: Side) -> dict[str, object]:
        own, max_model_len = self.settings.for_model(self.fingerprint.model), self.fingerprint.max_model_len
        query_tokens = most_tokens(query)
        if truncate.needs_count(query, max_model_len):
            query_tokens = await self.link.count_tokens(self.fingerprint.model, text_of(query), request_id=_REQUEST_ID)
        lengths = truncate.Lengths(
            mode=self.profile.truncation,
            max_model_len=max_model_len,
            template_tokens=own.template_tokens + most_tokens(own.instruction),
            query_tokens=truncate.with_images(query_tokens, query, max_model_len),
        )
        long_documents = own.long_documents or self.settings.long_documents
        sent = with_instruction({}, own.instruction, model=self.fingerprint.model, profile=self.profile)
        return truncate.worker_fields(sent, lengths, long_documents=long_documents)


@asynccontextmanager
async def serving(settings: Settings, model: str | None) -> AsyncIterator[list[Scorer]]:
    """The workers that serve the model, until the end of the block.

    Args:
        settings: Name the workers and how to connect to them.
        model: Its name; None when the workers serve only one, or the settings have a default.

    Raises:
        NotThere: a worker can't be found or doesn't answer, or which model is meant isn't clear.
        SettingsError: certificates can't be read.
    """
    tls = Certificates(settings).towards_workers
    async with AsyncExitStack() as stack:
        call_ids = CallIds()
        links = [connect(url, settings, tls, call_ids) for url in await _urls(settings.workers)]
        for link in links:
            stack.push_async_callback(link.close)
        served = await _served(links, settings)
        name = _model({name for models in served for name in models}, model or settings.default_model)
        yield [
            Scorer(link=link, fingerprint=models[name], settings=settings)
            for link, models in zip(links, served, strict=True)
            if name in models
        ]


async def _urls(addresses: Sequence[str]) -> list[str]:
    for address in addresses:
        if problem := problem_with(address):
            raise NotThere(f"{without_password(address)} {problem}")
    found = await discover(addresses, limit_s=_SEARCH_S)
    for source in found:
        if not any(source.endpoints.values()):
            raise NotThere(f"no workers: {source.problem}")
    return list(dict.fromkeys(url for source in found for url, is_ready in source.endpoints.items() if is_ready))


async def _served(links: Sequence[WorkerLink], settings: Settings) -> list[dict[str, Fingerprint]]:
    """The models of each worker, by their names."""
    served, silent = [], []
    for link in links:
        try:
            served.append(await Fingerprinter(settings).identify(link))
        except WorkerError as exc:
            silent.append(exc.message)
    if silent:
        raise NotThere("\n".join([*silent, "Start what is down, or leave it out: name the others with --worker."]))
    return served


def _model(names: set[str], wanted: str | None) -> str:
    served = f"the workers serve {', '.join(sorted(names)) or 'no model'}"
    if wanted and wanted not in names:
        raise NotThere(f"no worker serves {wanted}: {served}")
    if not wanted and len(names) != 1:
        raise NotThere(f"{served}: choose with --model")
    return wanted or next(iter(names))
