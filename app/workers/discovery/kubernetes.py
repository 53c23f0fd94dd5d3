"""Discovery of the workers behind a Kubernetes Service: its EndpointSlices, listed every few minutes and watched."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from random import Random
from typing import Any

import httpx
import orjson
import structlog

from app.settings.addresses import Service
from app.workers.discovery.cluster import Access, access
from app.workers.discovery.endpoints import Slice, ports_of, read_slice, workers_of
from app.workers.discovery.source import DiscoveryError, Endpoints
from app.workers.vllm_responses import message_of

# The server ends a watch after so long. A dead connection, or a rotated token, is noticed by then.
_WATCH_S = 60
# A watch that had lived for so long was cut by something on the way that ends idle connections: that is no failure.
_HAS_LIVED_S = 5.0
# After an etcd that was restored from a backup, watches go on from versions it never had, and tell nothing.
_LIST_AGAIN_S = 300.0
_JITTER = 0.2
_TIMEOUT_S = 10.0
# From a second to half a minute.
_DOUBLINGS = 5
# An EndpointSlice has 1000 endpoints at most, and etcd keeps nothing above 1.5 MiB.
_LONGEST_LINE_BYTES = 4 * 2**20
_REASON_CHARS = 200
_ADVICE: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "; the token will be read again",
    HTTPStatus.FORBIDDEN: "; let the gateway's service account list and watch endpointslices (discovery.k8s.io) in the "
    "namespace {}",
}


class _Gone(DiscoveryError):
    """The server has forgotten the changes since our version: the slices have to be listed anew."""


class Kubernetes:
    """The workers behind a Service, as the API server tells of them.

    Changes arrive within moments. While the API server can't be asked, its last answer counts.

    Args:
        service: The Service, and which of its ports is the workers'.
        rng: Spreads the calls of several gateways.
        cluster: Gives the access to the cluster, called anew for every request.
        list_again_s: Seconds after which the slices are listed anew, give or take a fifth, when the watch ends.
        has_lived_s: Seconds after which a watch that breaks off is no failure.
    """

    def __init__(
        self,
        service: Service,
        *,
        rng: Random,
        cluster: Callable[[], Access] = access,
        list_again_s: float = _LIST_AGAIN_S,
        has_lived_s: float = _HAS_LIVED_S,
    ) -> None:
        self.name = f"kubernetes://{service.namespace}/{service.name}:{service.port}"
        self.has_answered = False
        self._service = service
        self._rng = rng
        self._cluster = cluster
        self._list_again_s = list_again_s
        self._has_lived_s = has_lived_s
        self._slices: dict[str, Slice] = {}
        # Up to where the slices are known; None when they have to be listed.
        self._version: str | None = None
        self._list_again_at = float("-inf")
        self._failures = 0
        self._failure: str | None = "its API server has not been asked yet"
        self._log = structlog.get_logger()

    @property
    def problem(self) -> str | None:
        problem = self._failure or self._why_no_workers()
        return f"{self.name}: {problem}" if problem else None

    async def watch(self) -> AsyncIterator[Endpoints]:
        loop = asyncio.get_running_loop()
        while True:
            watched_from = float("inf")
            try:
                if self._version is None or loop.time() >= self._list_again_at:
                    await self._list()
                    self._list_again_at = loop.time() + self._spread(self._list_again_s)
                    yield self._endpoints()
                watched_from = loop.time()
                async with aclosing(self._events(self._version or "")) as events:
                    async for event in events:
                        self._apply(event)
                        yield self._endpoints()
                self._failures = 0
            except _Gone:
                self._version = None
                self._failures += 1
            except DiscoveryError as exc:
                if loop.time() - watched_from >= self._has_lived_s:
                    self._failures = 0
                else:
                    self._failures += 1
                    self._failed(str(exc))
            await asyncio.sleep(self._pause_s())

    async def _list(self) -> None:
        """List all slices anew."""
        async with self._get({}, timeout_s=_TIMEOUT_S) as response:
            listed = _decoded(await response.aread())
        with _of_documented_form():
            self._slices = {item["metadata"]["name"]: read_slice(item) for item in listed["items"] or ()}
            self._version = listed["metadata"]["resourceVersion"]

    async def _events(self, version: str) -> AsyncGenerator[Mapping[str, Any], None]:
        """The changes to the slices after `version`, until the server ends the watch."""
        watch_s = round(self._spread(_WATCH_S))
        parameters = {
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(watch_s),
            "allowWatchBookmarks": "true",
        }
        async with self._get(parameters, timeout_s=watch_s + _TIMEOUT_S) as response:
            async for line in _lines(response):
                yield _decoded(line)

    def _apply(self, event: Mapping[str, Any]) -> None:
        """Apply one event to the slices.

        Raises:
            _Gone: it is an error; whatever it says, a new list is right after it.
        """
        with _of_documented_form():
            if event["type"] == "ERROR":
                raise _Gone
            written = event["object"]
            if event["type"] == "DELETED":
                self._slices.pop(written["metadata"]["name"], None)
            elif event["type"] in {"ADDED", "MODIFIED"}:
                self._slices[written["metadata"]["name"]] = read_slice(written)
            self._version = written["metadata"]["resourceVersion"]
        self._failures = 0

    def _endpoints(self) -> Endpoints:
        self.has_answered = True
        return workers_of(self._slices.values(), self._service.port)

    def _why_no_workers(self) -> str | None:
        """The reason why the Service has no workers; None when it has some."""
        if workers_of(self._slices.values(), self._service.port):
            return None
        ports = ports_of(self._slices.values())
        if not ports or not any(one.endpoints for one in self._slices.values()):
            return "it has no endpoints"
        return f"it has no port {self._service.port}, but {', '.join(ports)}"[:_REASON_CHARS]

    def _failed(self, failure: str) -> None:
        """Remember why the server can't be asked; a reason is logged once."""
        if failure != self._failure:
            self._log.warning("discovery_failed", source=self.name, reason=failure)
        self._failure = failure

    def _spread(self, seconds: float) -> float:
        return seconds * self._rng.uniform(1 - _JITTER, 1 + _JITTER)

    def _pause_s(self) -> float:
        """Seconds before the next request, also after a watch that ended well: a server may end each at once."""
        return 2.0 ** min(self._failures, _DOUBLINGS) * self._rng.uniform(0.5, 1)

    @asynccontextmanager
    async def _get(self, parameters: Mapping[str, str], *, timeout_s: float) -> AsyncIterator[httpx.Response]:
        """The answer to a question about the Service's slices; `timeout_s` is how long the server may be silent.

        Raises:
            DiscoveryError: there is no answer, or it breaks off.
            _Gone: the version that was asked for is too old.
        """
        cluster = self._cluster()
        url = f"{cluster.server}/apis/discovery.k8s.io/v1/namespaces/{self._service.namespace}/endpointslices"
        selector = {"labelSelector": f"kubernetes.io/service-name={self._service.name}"}
        timeout = httpx.Timeout(_TIMEOUT_S, read=timeout_s)
        try:
            async with (
                httpx.AsyncClient(verify=cluster.tls, timeout=timeout, trust_env=False) as client,
                client.stream("GET", url, params={**selector, **parameters}, headers=cluster.headers) as response,
            ):
                await self._check(response)
                self._failure = None
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            reason = f"{type(exc).__name__} {exc}".strip()[:_REASON_CHARS]
            raise DiscoveryError(f"its API server gave no answer: {reason}") from exc

    async def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == HTTPStatus.OK:
            return
        if status == HTTPStatus.GONE:
            raise _Gone
        advice = _ADVICE.get(status, "").format(self._service.namespace)
        raise DiscoveryError(f"its API server answered {status}: {message_of(await response.aread())}{advice}")


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """The lines of a body as they come in; the last one only if it is whole."""
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > _LONGEST_LINE_BYTES:
            raise DiscoveryError(f"its API server sent a change of more than {_LONGEST_LINE_BYTES >> 20} MiB")


def _decoded(text: bytes) -> Mapping[str, Any]:
    try:
        decoded: Mapping[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise DiscoveryError("its API server sent something that is no JSON") from exc
    return decoded


@contextmanager
def _of_documented_form() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as exc:
        raise DiscoveryError("its API server sent something that is no EndpointSlice") from exc
