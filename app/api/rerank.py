"""The routes that score: bytes -> request -> scores -> bytes."""

import re
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import orjson
from fastapi import APIRouter, Response
from starlette.requests import ClientDisconnect

from app.api import dialects
from app.api.answers import CLIENT_LEFT, InternalError, answer, error_answer
from app.api.intake import Intake
from app.api.leaving import ClientLeft, unless_client_leaves
from app.api.openapi import describe
from app.api.visit import Visit, VisitLog
from app.auth import Keys
from app.errors import BadInput, RerankError
from app.gateway import Gateway
from app.incoming import Incoming
from app.loop import OnLoop
from app.metrics import Metrics
from app.settings import Settings
from app.spans import Traces
from app.work import CacheUse, Caller, RerankRequest

ROUTES = ("/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score")
# Body fields that the query string may fill in: Milvus has no other channel for what concerns one collection.
_QUERY_DEFAULTS = frozenset({"model", "return_documents", "truncate_prompt_tokens", "max_tokens_per_doc", "timeout_ms"})
# Every field that may hold one side of the pairs, in any dialect.
_SIDES = frozenset({"documents", "texts", "text_1", "text_2", "data_1", "data_2", "queries", "items"})
# Up to what a 64-bit integer holds, which some clients write for "no limit".
_MILLISECONDS = re.compile(r"0*[1-9][0-9]{0,18}")


class RerankApi(OnLoop):
    """Serves every route that scores."""

    def __init__(
        self, *, gateway: Gateway, intake: Intake, keys: Keys, settings: Settings, metrics: Metrics, traces: Traces
    ) -> None:
        self._gateway = gateway
        self._intake = intake
        self._keys = keys
        self._settings = settings
        self._traces = traces
        self._log = VisitLog(slow_s=settings.slow_request_s, metrics=metrics)

    def router(self) -> APIRouter:
        """The routes, described for OpenAPI; `Door` serves them."""
        router = APIRouter()
        for path in ROUTES:
            router.add_api_route(path, _served_before, methods=["POST"], **describe(path))
        return router

    async def serve(self, incoming: Incoming) -> Response:
        """Answer one request, log it, count it and trace it."""
        with self._traces.request(incoming):
            return await self._answer(incoming)

    async def _answer(self, incoming: Incoming) -> Response:
        visit = Visit(
            path=incoming.path,
            request_id=incoming.request_id,
            arrived=self._loop.time(),
            started=perf_counter(),
            dialect=dialects.foretell(incoming.path, incoming.parameters.get("dialect")),
        )
        error: RerankError | None = None
        bug: Exception | None = None
        try:
            response = await self._score(incoming, visit)
        except (ClientLeft, ClientDisconnect):
            response = Response(status_code=CLIENT_LEFT)
        except RerankError as exc:
            error = exc
            response = error_answer(error, visit.dialect, visit.path)
        except Exception as exc:  # noqa: BLE001 - the last resort: whatever it is, the client gets an answer and the log a trace
            bug = exc
            message = f"The gateway has a bug; its log has the details under request id {visit.request_id}."
            error = InternalError(message)
            response = error_answer(error, visit.dialect, visit.path)
        self._log.write(visit, response.status_code, error=error, bug=bug)
        return response

    async def _score(self, incoming: Incoming, visit: Visit) -> Response:
        visit.key = incoming.key = self._keys.name_of(incoming.headers.get("authorization"))
        with self._intake.charge(visit.key) as charge:
            body = await self._intake.read(incoming, charge)
            parsed = self._parse(incoming, body, visit)
            deadline = visit.arrived + self._time_limit_s(incoming, parsed)
            caller = self._caller(incoming, visit, deadline, body)
            # Fields that nobody knows may take 20 times the bytes they came in; scoring may take long.
            del body
            scored = await unless_client_leaves(incoming, self._gateway.score(parsed, caller, visit.tally))
            response = answer(visit.dialect.render(parsed, scored, visit.request_id))
            response.raw_headers.extend(_spent(visit))
            if scored.degraded:
                visit.degraded = response.headers["X-Rerank-Degraded"] = scored.degraded
            return response

    def _caller(self, incoming: Incoming, visit: Visit, deadline: float, body: Mapping[str, Any]) -> Caller:
        priority = body.get("priority")
        return Caller(
            key=visit.key,
            request_id=visit.request_id,
            deadline=deadline,
            priority=priority if type(priority) is int else 0,
            takes_degraded=incoming.headers.get("x-rerank-degraded", "").lower() != "deny",
            cache=_cache_use(incoming, is_on=self._settings.cache),
        )

    def _parse(self, incoming: Incoming, body: dict[str, Any], visit: Visit) -> RerankRequest:
        visit.dialect = dialects.detect(visit.path, incoming.parameters.get("dialect"), body)
        if "top_n" in incoming.parameters:
            # It would shift the scores of Milvus, which goes by position.
            raise BadInput("top_n can't be set in the query string: send it in the body", param="top_n")
        for name in incoming.parameters.keys() & _QUERY_DEFAULTS:
            # vLLM takes an empty model for none.
            if body.get(name) in (None, ""):
                body[name] = incoming.parameters[name]
        _check_counts(body, self._settings.max_documents)
        parsed = visit.dialect.parse(body)
        visit.tally.documents = len(parsed.pairs)
        _check_lengths(parsed, self._settings.max_document_chars)
        if not self._settings.forward_fields:
            return parsed
        return replace(parsed, fields=self._forwarded(body) | dict(parsed.fields))

    def _forwarded(self, body: dict[str, Any]) -> dict[str, Any]:
        """The fields that the settings list, as far as the client sent them."""
        fields = {name: body[name] for name in self._settings.forward_fields if body.get(name) is not None}
        for name, value in fields.items():
            try:
                _check_length(name, orjson.dumps(value).decode(), self._settings.max_document_chars)
            except orjson.JSONEncodeError:
                raise BadInput(f"{name} has an integer beyond 64 bits: send a smaller one", param=name) from None
        return fields

    def _time_limit_s(self, incoming: Incoming, parsed: RerankRequest) -> float:
        """The shortest of all limits: the client's can't lengthen ours."""
        limits_ms = [self._settings.deadline_s * 1000]
        if parsed.timeout_ms is not None:
            limits_ms.append(parsed.timeout_ms)
        for name, given in (
            ("X-Request-Timeout-Ms", incoming.headers.get("x-request-timeout-ms")),
            ("timeout_ms", incoming.parameters.get("timeout_ms")),
        ):
            if given is not None:
                if not _MILLISECONDS.fullmatch(given):
                    raise BadInput(f"{name} must be a whole number of milliseconds above 0", param=name)
                limits_ms.append(int(given))
        # The body's number may have more digits than a float can take, unless it is compared first.
        return min(limits_ms) / 1000


async def _served_before() -> None:
    """Stands for `RerankApi.serve` where FastAPI describes it: `Door` doesn't let its requests come that far."""


def _cache_use(incoming: Incoming, *, is_on: bool) -> CacheUse:
    """What the client wants of the cache, from the header or else the query string; nothing where it is off."""
    given = incoming.headers.get("x-rerank-cache") or incoming.parameters.get("cache") or "default"
    match given.strip().lower():
        case "default":
            return "default" if is_on else "no-store"
        case "no-cache":
            return "no-cache" if is_on else "no-store"
        case "no-store":
            return "no-store"
        case _:
            message = "X-Rerank-Cache, or cache in the query string, must be default, no-cache or no-store"
            raise BadInput(message, param="cache")


def _spent(visit: Visit) -> list[tuple[bytes, bytes]]:
    """What was spent on a request, as headers."""
    tally = visit.tally
    spent_ms = (1000 * tally.cache_s, 1000 * tally.workers_s, 1000 * (perf_counter() - visit.started))
    timing = b"cache;dur=%.2f, workers;dur=%.2f, total;dur=%.2f" % spent_ms
    return [(b"x-rerank-cache-hits", b"%d" % tally.cache_hits), (b"server-timing", timing)]


def _check_counts(body: Mapping[str, Any], most: int) -> None:
    """Raises when there are too many: before each is looked at, which would take seconds for ten millions."""
    for name in body.keys() & _SIDES:
        entries = body[name]
        if isinstance(entries, list) and len(entries) > most:
            message = f"{len(entries)} documents are more than the {most} one request may have: send fewer"
            raise BadInput(message, param=name)


def _check_lengths(request: RerankRequest, longest: int) -> None:
    """Raises when a text is too long. The query and the fields go to workers with every chunk of the documents."""
    queries, documents = request.pairs.queries, request.pairs.documents
    for what, texts in (("documents", documents), ("query", queries)):
        if max(map(len, texts)) > longest:
            for index, text in enumerate(texts):
                _check_length(what if what == "query" and len(texts) == 1 else f"{what}[{index}]", text, longest)
    for name, value in request.fields.items():
        if isinstance(value, str):
            _check_length(name, value, longest)


def _check_length(place: str, text: str, longest: int) -> None:
    if len(text) > longest:
        message = f"{place} has {len(text)} characters, more than the {longest} allowed: shorten it"
        raise BadInput(message, param=place)
