"""EndpointSlices over real sockets: from an API server that fails in every way, and from a real one if there is one."""

import asyncio
import os
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from app.settings.addresses import Service
from app.workers.discovery.cluster import Access, access
from app.workers.discovery.kubernetes import Kubernetes
from app.workers.discovery.source import DiscoveryError
from tests.certificates import Certificates
from tests.fake_kubernetes import FakeKubernetes
from tests.following import Followed, followed
from tests.virtual import on_virtual_clock
from tests.waiting import until

ONE = {"http://10.1.0.1:8000": True}
TWO = ONE | {"http://10.1.0.2:8000": True}
HTTP = {"name": "http", "port": 8000, "protocol": "TCP"}


class Slices:
    """The EndpointSlices of one Service, as the test writes them."""

    def __init__(self, enter: Callable[[], Access], service: str = "vllm") -> None:
        self.service = service
        self._enter = enter
        self._written: list[str] = []

    async def write(self, name: str, *endpoints: dict[str, Any], ports: Sequence[dict[str, Any]] = (HTTP,)) -> None:
        """Create a slice, or replace it."""
        name = f"{self.service}-{name}"
        metadata = {"name": name, "labels": {"kubernetes.io/service-name": self.service}}
        kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
        written = kind | {"metadata": metadata, "endpoints": list(endpoints), "ports": list(ports)}
        if name in self._written:
            await self._send("PUT", f"/{name}", written)
        else:
            await self._send("POST", "", written)
            self._written.append(name)

    async def delete(self, name: str) -> None:
        await self._send("DELETE", f"/{self.service}-{name}", None)
        self._written.remove(f"{self.service}-{name}")

    async def delete_all(self) -> None:
        for name in list(self._written):
            await self._send("DELETE", f"/{name}", None)

    async def _send(self, method: str, name: str, body: Any) -> None:
        way = self._enter()
        url = f"{way.server}/apis/discovery.k8s.io/v1/namespaces/default/endpointslices{name}"
        async with httpx.AsyncClient(verify=way.tls, headers=way.headers, trust_env=False) as client:
            (await client.request(method, url, json=body)).raise_for_status()


def endpoint(ip: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "conditions": {"ready": True} | conditions}


def kubeconfig(path: Path, server: FakeKubernetes) -> Path:
    """A kubeconfig for the server, with the token in a file beside it."""
    path.with_name("token").write_text(server.token)
    user, context = {"tokenFile": "token"}, {"cluster": "c", "user": "u"}
    written = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": context}],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(written))
    return path


class Hasty(Random):
    """Chance that makes every pause as short as it can be."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


def source_of(slices: Slices, enter: Callable[[], Access], **times: float) -> Kubernetes:
    return Kubernetes(Service("default", slices.service, "http"), rng=Hasty(), cluster=enter, **times)


@asynccontextmanager
async def stage(tmp_path: Path, **times: float) -> AsyncIterator[tuple[FakeKubernetes, Slices, Kubernetes, Followed]]:
    """An API server with one worker, which a source has seen and watches."""
    async with FakeKubernetes().running() as server:
        path = kubeconfig(tmp_path / "kubeconfig", server)

        def enter() -> Access:
            return access({"KUBECONFIG": str(path)})

        slices = Slices(enter)
        await slices.write("a", endpoint("10.1.0.1"))
        source = source_of(slices, enter, **times)
        async with followed(source) as seen:
            await until(lambda: seen.last == ONE and server.watches)
            yield server, slices, source, seen


@pytest.fixture(params=["fake", "real"])
async def enter(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], Access]]:
    """The way into a cluster: the one that `KUBECONFIG` names is the real one."""
    if request.param == "real":
        if not os.environ.get("KUBECONFIG"):
            pytest.skip("KUBECONFIG names no cluster")
        yield access
        return
    async with FakeKubernetes().running() as server:
        path = kubeconfig(tmp_path / "kubeconfig", server)
        yield lambda: access({"KUBECONFIG": str(path)})


async def test_what_happens_to_slices_is_seen_as_it_happens(enter: Callable[[], Access]):
    slices = Slices(enter, f"rerank-test-{uuid4().hex[:8]}")
    source = source_of(slices, enter)
    try:
        await slices.write("a", endpoint("10.1.0.1"))
        async with followed(source) as seen:
            await until(lambda: seen.last == ONE)
            await slices.write("b", endpoint("10.1.0.2"))
            await until(lambda: seen.last == TWO)
            await slices.write("b", endpoint("10.1.0.1"), endpoint("10.1.0.2", ready=False))
            await until(lambda: seen.last == ONE | {"http://10.1.0.2:8000": False})
            await slices.write("b", endpoint("10.1.0.2", ready=False, serving=True, terminating=True))
            await until(lambda: seen.last == ONE)
            await slices.delete("b")
            await slices.write("a", endpoint("10.1.0.1"), ports=[HTTP | {"port": 8001}])
            await until(lambda: seen.last == {"http://10.1.0.1:8001": True})
            assert source.problem is None
            await slices.write("a", endpoint("10.1.0.1"), ports=[HTTP | {"name": "grpc"}])
            await until(lambda: seen.last == {})
            assert source.problem == f"{source.name}: it has no port http, but grpc (8000)"
            await slices.delete("a")
            await until(lambda: source.problem == f"{source.name}: it has no endpoints")
    finally:
        await slices.delete_all()


async def test_a_service_that_is_not_there_is_an_answer(enter: Callable[[], Access]):
    source = source_of(Slices(enter, f"rerank-test-{uuid4().hex[:8]}"), enter)
    async with followed(source) as seen:
        await until(lambda: seen.last == {})
        assert source.has_answered


async def test_a_watch_that_ends_is_taken_up_where_it_ended(tmp_path: Path):
    async with stage(tmp_path) as (server, slices, source, seen):
        server.end_watches()
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: seen.last == TWO)
        assert server.lists == 1
        assert source.problem is None


async def test_after_a_bookmark_a_watch_goes_on_from_there(tmp_path: Path):
    async with stage(tmp_path) as (server, _, _, seen):
        before = len(seen.all)
        server.bookmark()
        await until(lambda: len(seen.all) > before)
        server.forget()
        server._oldest -= 1
        server.end_watches()
        await until(lambda: sum(ask.is_watch for ask in server.asks) == 2 and server.watches)
        assert server.lists == 1
        assert all(ask.asked["allowWatchBookmarks"] == "true" for ask in server.asks if ask.is_watch)


async def test_a_watch_that_breaks_off_loses_nothing(tmp_path: Path):
    async with stage(tmp_path) as (server, slices, source, seen):
        server.break_watches()
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: seen.last == TWO)
        assert server.lists == 1
        assert source.problem is None


async def test_watches_that_are_cut_after_a_while_are_taken_up_without_growing_pauses(tmp_path: Path):
    async with stage(tmp_path, has_lived_s=0.0) as (server, _, source, _):
        began = perf_counter()
        for _ in range(4):
            server.break_watches()
            await until(lambda: not server.watches)
            await until(lambda: server.watches)
        # With growing ones it would be 1 + 2 + 4 + 8 s.
        assert perf_counter() - began < 6
        assert (server.lists, source.problem) == (1, None)


async def test_after_a_while_all_is_listed_anew_as_an_api_server_from_a_backup_tells_nothing(tmp_path: Path):
    async with stage(tmp_path, list_again_s=0.0) as (server, slices, _, seen):
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: seen.last == TWO)
        server.restore()
        server.end_watches()
        await until(lambda: seen.last == {})


@pytest.mark.parametrize("told", ["status", "event"])
async def test_after_410_all_is_listed_anew(tmp_path: Path, told: str):
    async with stage(tmp_path) as (server, slices, _, seen):
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: seen.last == TWO)
        if told == "status":
            server.forget()
            server.end_watches()
        else:
            server.tell_error(410)
        # Deleted while nobody watches: only a list can tell.
        await slices.delete("b")
        server.forget()
        await until(lambda: seen.last == ONE and server.watches)
        assert server.lists == 2


async def test_after_an_error_of_another_kind_all_is_listed_anew(tmp_path: Path):
    async with stage(tmp_path) as (server, slices, _, seen):
        server.tell_error(500)
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: seen.last == TWO and server.watches)
        assert server.lists == 2


async def test_a_token_that_changed_is_read_again(tmp_path: Path):
    async with stage(tmp_path) as (server, slices, source, seen):
        server.token = "token-2"
        server.end_watches()
        await until(lambda: "401" in (source.problem or ""))
        assert seen.last == ONE
        (tmp_path / "token").write_text("token-2\n")
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: seen.last == TWO)
        assert source.problem is None
        assert server.lists == 1


async def test_who_may_not_list_is_told_what_to_allow(tmp_path: Path):
    async with FakeKubernetes(refusals=deque([403])).running() as server:
        path = kubeconfig(tmp_path / "kubeconfig", server)
        source = Kubernetes(
            Service("ml", "vllm", "http"), rng=Random(7), cluster=lambda: access({"KUBECONFIG": str(path)})
        )
        async with followed(source) as seen:
            await until(lambda: "403" in (source.problem or ""))
        assert source.problem == (
            "kubernetes://ml/vllm:http: its API server answered 403: endpointslices is refused; let the gateway's "
            "service account list and watch endpointslices (discovery.k8s.io) in the namespace ml"
        )
        assert (seen.all, source.has_answered) == ([], False)


async def test_while_the_api_server_fails_the_workers_stay(tmp_path: Path):
    async with stage(tmp_path) as (server, slices, source, seen):
        server.refusals.append(503)
        server.end_watches()
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: "503" in (source.problem or ""))
        assert seen.last == ONE
        await until(lambda: seen.last == TWO)
        assert server.lists == 1


@on_virtual_clock
async def test_pauses_double_with_every_failure_up_to_half_a_minute_and_vary():
    loop, tries = asyncio.get_running_loop(), list[float]()

    def no_way() -> Access:
        tries.append(loop.time())
        raise DiscoveryError("no way in")

    async with followed(Kubernetes(Service("ml", "vllm", "http"), rng=Random(7), cluster=no_way)):
        await asyncio.sleep(24 * 2000)
    first, second, third, fourth, *later = [after - before for before, after in pairwise(tries)]
    assert 1 <= first <= 2 <= second <= 4 <= third <= 8 <= fourth <= 16
    assert 16 <= min(later) < 17
    assert 31 < max(later) <= 32
    assert len(later) > 1900


async def test_a_watch_that_ended_well_is_begun_again_after_a_moment(tmp_path: Path):
    async with stage(tmp_path) as (server, _, _, _):
        asked, began = len(server.asks), perf_counter()
        server.end_watches()
        await until(lambda: len(server.asks) > asked)
        assert perf_counter() - began >= 0.5
        assert server.lists == 1


async def test_an_api_server_that_is_not_there_is_a_problem_and_no_answer(tmp_path: Path):
    async with FakeKubernetes().running() as server:
        path = kubeconfig(tmp_path / "kubeconfig", server)
    source = Kubernetes(Service("ml", "vllm", "http"), rng=Random(7), cluster=lambda: access({"KUBECONFIG": str(path)}))
    async with followed(source) as seen:
        await until(lambda: "gave no answer: ConnectError" in (source.problem or ""))
    assert (seen.all, source.has_answered) == ([], False)


@pytest.mark.parametrize(
    "line", [b"<html>", b"[]", b'{"type":"ADDED","object":{"metadata":{"name":"b"},"endpoints":[{}]}}']
)
async def test_what_is_no_endpoint_slice_changes_nothing(tmp_path: Path, line: bytes):
    async with stage(tmp_path) as (server, slices, source, seen):
        server.tell(line + b"\n")
        await until(lambda: "sent something that is no" in (source.problem or ""))
        assert seen.last == ONE
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: seen.last == TWO)
        assert source.problem is None


async def test_a_change_that_never_ends_is_given_up_and_listed_anew(tmp_path: Path):
    async with stage(tmp_path) as (server, slices, source, seen):
        server.tell(b"x" * (5 * 2**20))
        await until(lambda: "sent a change of more than 4 MiB" in (source.problem or ""))
        assert seen.last == ONE
        await slices.write("b", endpoint("10.1.0.2"))
        await until(lambda: seen.last == TWO)


async def test_a_pod_gets_in_with_its_service_account(tmp_path: Path, certificates: Certificates):
    (tmp_path / "ca.crt").write_bytes(certificates.authority.read_bytes())
    async with FakeKubernetes().running(certificates.serving()) as server:
        host, port = server.url.removeprefix("https://").split(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        (tmp_path / "token").write_text(f"{server.token}\n")

        def enter() -> Access:
            return access(environ, account=tmp_path)

        slices = Slices(enter)
        await slices.write("a", endpoint("10.1.0.1"))
        async with followed(source_of(slices, enter)) as seen:
            await until(lambda: seen.last == ONE and server.watches)


async def test_a_client_certificate_gets_in_too(tmp_path: Path, certificates: Certificates):
    async with FakeKubernetes(token="").running(certificates.demanding()) as server:
        path = kubeconfig(tmp_path / "kubeconfig", server)
        written = yaml.safe_load(path.read_text())
        authority, client = (
            b64encode(file.read_bytes()).decode() for file in (certificates.authority, certificates.client)
        )
        written["clusters"][0]["cluster"]["certificate-authority-data"] = authority
        written["users"][0]["user"] = {"client-certificate-data": client, "client-key-data": client}
        path.write_text(yaml.safe_dump(written))
        async with followed(source_of(Slices(access), lambda: access({"KUBECONFIG": str(path)}))) as seen:
            await until(lambda: seen.last == {} and server.watches)
        assert server.asks[0].token == ""
