"""The routes that score, from the bytes of a request to the bytes of its answer."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, Response
from starlette.requests import ClientDisconnect

from app.aio import OnLoop
from app.api import dialects
from app.api.access_log import AccessLog, AccessRecord
from app.api.auth import Keys
from app.api.body import BodyReader
from app.api.dialects.base import Dialect
from app.api.disconnect import ClientLeft, cancelled_on_disconnect
from app.api.openapi import describe
from app.api.request import HttpRequest
from app.api.responses import CLIENT_LEFT, InternalError, answer, error_answer
from app.errors import BadInput, RerankError
from app.scoring.gateway import Gateway
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.spans import Traces
from app.types import CacheUse, Image, Pairs, RequestContext, RerankRequest, Side, text_of

# Body fields that the query string may fill in: Milvus has no other channel for what concerns one collection.
_QUERY_DEFAULTS = frozenset(
    {
        "model",
        "return_documents",
        "truncate_prompt_tokens",
        "max_tokens_per_doc",
        "instruction",
        "long_documents",
        "return_passages",
        "timeout_ms",
    }
)
# Up to what a 64-bit integer holds, which some clients write for "no limit".
_MILLISECONDS = re.compile(r"0*[1-9][0-9]{0,18}")


_VOYAGEAI_ADVICE = (
    "If this is Milvus's provider voyageai, it reads every score as 0: write /voyage/rerank in its url. "
    "Its providers cohere and siliconflow are answered as they expect."
)


class RerankApi(OnLoop):
    """The endpoint of all routes that score."""

    def __init__(
        self, *, gateway: Gateway, bodies: BodyReader, keys: Keys, settings: Settings, metrics: Metrics, traces: Traces
    ) -> None:
        self._gateway = gateway
        self._bodies = bodies
        self._keys = keys
        self._settings = settings
        self._traces = traces
        # Names of keys, as many as the settings have.
        self._warned: set[str] = set()
        self._log = AccessLog(slow_s=settings.slow_request_s, metrics=metrics)

    def router(self) -> APIRouter:
        """The routes, described for OpenAPI; `AsgiApp` serves them."""
        router = APIRouter()
        for path in dialects.ROUTES:
            router.add_api_route(path, _never_called, methods=["POST"], **describe(path))
        return router

    async def serve(self, request: HttpRequest) -> Response:
        """Answer one request, log it, count it and trace it."""
        with self._traces.request(request.scope):
            return await self._answer(request)

    async def _answer(self, request: HttpRequest) -> Response:
        record = AccessRecord(
            request=request,
            arrived=self._loop.time(),
            started=perf_counter(),
            dialect=dialects.guess(request.path, request.parameters.get("dialect"), request.prefix),
        )
        error: RerankError | None = None
        bug: Exception | None = None
        try:
            response = await self._score(request, record)
        except (ClientLeft, ClientDisconnect):
            response = Response(status_code=CLIENT_LEFT)
        except RerankError as exc:
            error = exc
            response = error_answer(error, record.dialect, request.path)
        except Exception as exc:  # noqa: BLE001 - the last resort: whatever it is, the client gets an answer and the log a trace
            bug = exc
            message = f"The gateway has a bug; its log has the details under request id {request.request_id}."
            error = InternalError(message)
            response = error_answer(error, record.dialect, request.path)
        self._log.write(record, response.status_code, error=error, bug=bug)
        # Their traces refer to this frame: a reference cycle with the request and its body in it.
        del error, bug
        return response

    async def _score(self, request: HttpRequest, record: AccessRecord) -> Response:
        request.key = self._keys.name_of(request.headers.get("authorization"))
        with self._bodies.reservation(request.key) as reservation:
            try:
                body = await self._bodies.read(request, reservation)
            finally:
                record.stats.body_s = self._loop.time() - record.arrived
            parsed = self._parse(request, body, record)
            deadline = record.arrived + self._time_limit_s(request, parsed)
            context = self._context(request, record, deadline, body)
            # Frees the body while scoring goes on: unknown fields may take 20 times their bytes in memory.
            del body
            scored = await cancelled_on_disconnect(request, self._gateway.score(parsed, context))
            response = answer(record.dialect.render(parsed, scored, request.request_id))
            response.raw_headers.extend(_usage_headers(record))
            if scored.degraded:
                record.degraded = response.headers["X-Rerank-Degraded"] = scored.degraded
            return response

    def _context(
        self, request: HttpRequest, record: AccessRecord, deadline: float, body: Mapping[str, Any]
    ) -> RequestContext:
        priority = body.get("priority")
        return RequestContext(
            key=request.key,
            request_id=request.request_id,
            deadline=deadline,
            priority=priority if type(priority) is int else 0,
            takes_degraded=request.headers.get("x-rerank-degraded", "").lower() != "deny",
            cache=_cache_use(request, is_on=self._settings.cache),
            stats=record.stats,
        )

    def _parse(self, request: HttpRequest, body: dict[str, Any], record: AccessRecord) -> RerankRequest:
        named = request.parameters.get("dialect")
        record.dialect = dialects.detect(request.path, named, body, request.prefix)
        if named is None and not request.prefix:
            self._warn_of_voyageai(request, record, body)
        if "top_n" in request.parameters:
            # It would shift the scores of Milvus, which goes by position.
            raise BadInput("top_n can't be set in the query string: send it in the body", param="top_n")
        for name in request.parameters.keys() & _QUERY_DEFAULTS:
            given = body.get(name)
            # vLLM takes an empty model for none; an empty instruction is one.
            if given is None or (given == "" and name != "instruction"):
                body[name] = request.parameters[name]
        if request.model:
            body["model"] = request.model
        _check_counts(body, record.dialect, self._settings.max_documents)
        parsed = record.dialect.parse(body, request.path)
        record.stats.documents = len(parsed.pairs)
        _check_lengths(parsed, self._settings.max_document_chars)
        if parsed.pairs.hold_images():
            _check_image_hosts(parsed.pairs, self._settings.image_hosts)
        if not self._settings.forward_fields:
            return parsed
        return replace(parsed, fields=self._forwarded(body) | dict(parsed.fields))

    def _warn_of_voyageai(self, request: HttpRequest, record: AccessRecord, body: Mapping[str, Any]) -> None:
        """Warn, once per key, when Milvus's provider `voyageai` may be asking.

        It finds no `data` in another shape than Voyage's, and gives every document the score 0 without a word. Nothing
        in its body tells it from Milvus's providers `cohere` and `siliconflow`.
        """
        is_likely = record.dialect.name == "vllm" and request.path == "/rerank" and body.get("model")
        if not is_likely or request.key in self._warned:
            return
        if request.headers.get("user-agent", "").startswith("Go-http-client"):
            self._warned.add(request.key)
            structlog.get_logger().warning("maybe_voyageai", key=request.key, advice=_VOYAGEAI_ADVICE)

    def _forwarded(self, body: dict[str, Any]) -> dict[str, Any]:
        """The fields in `forward_fields` that the client sent."""
        fields = {name: body[name] for name in self._settings.forward_fields if body.get(name) is not None}
        for name, value in fields.items():
            try:
                _check_length(name, orjson.dumps(value).decode(), self._settings.max_document_chars)
            except orjson.JSONEncodeError:
                raise BadInput(f"{name} has an integer beyond 64 bits: send a smaller one", param=name) from None
        return fields

    def _time_limit_s(self, request: HttpRequest, parsed: RerankRequest) -> float:
        """The request's time limit, in seconds: the shortest of the settings' and the client's."""
        limits_ms = [self._settings.deadline_s * 1000]
        if parsed.timeout_ms is not None:
            limits_ms.append(parsed.timeout_ms)
        for name, given in (
            ("X-Request-Timeout-Ms", request.headers.get("x-request-timeout-ms")),
            ("timeout_ms", request.parameters.get("timeout_ms")),
        ):
            if given is not None:
                if not _MILLISECONDS.fullmatch(given):
                    raise BadInput(f"{name} must be a whole number of milliseconds above 0", param=name)
                limits_ms.append(int(given))
        # Compared first: the body's number may have more digits than a float can hold.
        return min(limits_ms) / 1000


async def _never_called() -> None:
    """Placeholder for `RerankApi.serve` in FastAPI's description; `AsgiApp` answers its requests before."""


def _cache_use(request: HttpRequest, *, is_on: bool) -> CacheUse:
    """The use of the cache that the client asks for, in the header or else the query string; none where it is off."""
    given = request.headers.get("x-rerank-cache") or request.parameters.get("cache") or "default"
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


def _usage_headers(record: AccessRecord) -> list[tuple[bytes, bytes]]:
    """The response headers that say what a request took."""
    stats = record.stats
    spent_ms = (1000 * stats.cache_s, 1000 * stats.workers_s, 1000 * (perf_counter() - record.started))
    timing = b"cache;dur=%.2f, workers;dur=%.2f, total;dur=%.2f" % spent_ms
    return [(b"x-rerank-cache-hits", b"%d" % stats.cache_hits), (b"server-timing", timing)]


def _check_counts(body: Mapping[str, Any], dialect: Dialect, most: int) -> None:
    """Refuse too many documents or queries before each is validated, which takes seconds for ten millions."""
    for place in dialect.texts:
        outer, _, inner = place.partition(".")
        entries = body.get(outer)
        if inner and isinstance(entries, dict):
            entries = entries.get(inner)
        if isinstance(entries, list) and len(entries) > most:
            message = f"{len(entries)} documents are more than the {most} one request may have: send fewer"
            raise BadInput(message, param=place)


def _check_lengths(request: RerankRequest, longest: int) -> None:
    """Refuse texts that are too long. Query and fields count too: they go to workers with every chunk."""
    for what, sides in _sides_of(request.pairs):
        if max(map(len, sides)) > longest:
            for index, side in enumerate(sides):
                _check_length(_place(what, index, sides), text_of(side), longest)
    for name, value in request.fields.items():
        if isinstance(value, str):
            _check_length(name, value, longest)


def _check_image_hosts(pairs: Pairs, hosts: Collection[str]) -> None:
    """Refuse images that workers would fetch from a host the settings don't list."""
    for what, sides in _sides_of(pairs):
        for index, side in enumerate(sides):
            for number, part in enumerate(() if isinstance(side, str) else side.parts):
                if isinstance(part, Image) and part.host and part.host not in hosts:
                    place = _place(what, index, sides)
                    message = (
                        f"{place} has an image, part {number}, on a host that RERANK_IMAGE_HOSTS doesn't list: "
                        "send it as data:image/png;base64,..."
                    )
                    raise BadInput(message, param=place)


def _sides_of(pairs: Pairs) -> Sequence[tuple[str, Sequence[Side]]]:
    """Both sides of the pairs, by the names that errors have for them."""
    return ("documents", pairs.documents), ("query", pairs.queries)


def _place(name: str, index: int, sides: Sequence[Side]) -> str:
    return name if name == "query" and len(sides) == 1 else f"{name}[{index}]"


def _check_length(place: str, text: str, longest: int) -> None:
    if len(text) > longest:
        message = f"{place} has {len(text)} characters, more than the {longest} allowed: shorten it"
        raise BadInput(message, param=place)
