"""The server at the endpoint: the gateway, a bare vLLM, TEI, or something else, and what to do when its calls fail."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.tools.doctor.findings import Findings
from app.tools.doctor.server_client import Reason, Reply, ServerClient

Kind = Literal["gateway", "vllm", "tei", "other"]

_NAMES = {"gateway": "rerank-gateway", "vllm": "a bare vLLM", "tei": "TEI", "other": "an unknown server"}
_UNUSUAL: Mapping[Kind, str] = {
    "tei": 'name the provider "tei" in the search, and keep max_client_batch_size at its own',
    "other": "expected were rerank-gateway, vLLM or TEI: check host and port of the endpoint",
}
_TIMEOUT_S = 4.0
# Milvus replaces these paths, which its users write, with its own; only urls in milvus.yaml begin with a dialect.
_HARMLESS_PATHS = re.compile("(/voyage)?(/v[12])?(/rerank)?/?")
_HIDES = "inside a container localhost is the container: name the machine there"
_REACHED: Mapping[Reason, str] = {
    "dns": "correct the host in the endpoint; names of Docker and Kubernetes are known inside their networks only",
    "refused": "start the gateway, or correct RERANK_HOST and RERANK_PORT; it must listen where Milvus can reach it",
    "certificate": "have Milvus's container trust its authority, or use http; here RERANK_WORKER_CA_FILE or --insecure",
    "tls": "write http:// in place of https://, or set RERANK_TLS_CERT_FILE and RERANK_TLS_KEY_FILE",
    "silence": "look for a firewall, for a gateway that hangs, and at the host and port of the endpoint",
    "broken": "correct the scheme (https:// where RERANK_TLS_CERT_FILE is set) and the port of the endpoint",
}
_KEY = "give the key by --key or RERANK_API_KEY; in Milvus as http://any:KEY@host, or as a credential in milvus.yaml"
_MODEL = "add ?model=NAME to the endpoint, set RERANK_DEFAULT_MODEL, or make the name an alias in RERANK_MODELS"
_SLOW = "workers take too long: look at the lines about workers; add workers, or lower max_client_batch_size"
_BY_STATUS: Mapping[int, str] = {
    401: _KEY,
    403: _KEY,
    404: "have whatever answers here pass /rerank and /v2/rerank on to the gateway, or correct the port",
    408: "look for what slows requests down between here and the gateway; RERANK_BODY_TIMEOUT_S is its limit",
    413: "raise the proxy's body limit (nginx: client_max_body_size 64m) or RERANK_MAX_BODY_BYTES",
    415: "let no proxy change Content-Type",
    429: "the gateway is overloaded: add workers, or look for one client that sends too much",
    500: "look at the server's log",
    502: "look at the lines about workers, and at RERANK_WORKER_API_KEY and RERANK_WORKERS",
    503: "look at the lines about workers: vLLM must run, and score, at the addresses in RERANK_WORKERS",
    504: _SLOW,
}


@dataclass(frozen=True)
class Target:
    """The server that answers at the endpoint.

    Args:
        client: The client for it.
        kind: The kind of server, as far as can be told.
    """

    client: ServerClient
    kind: Kind


async def identify(client: ServerClient, found: Findings) -> Target | None:
    """The server at the endpoint; None when no answer comes that a search could use."""
    replies = [client.ask(path, timeout_s=_TIMEOUT_S) for path in ("/livez", "/version", "/info")]
    alive, version, info = await asyncio.gather(*replies)
    failed = next((reply for reply in (alive, version, info) if reply.reason), None)
    if failed and failed.reason:
        local = f"; {_HIDES}" if _is_local(client) and failed.reason == "refused" else ""
        check = "certificate" if failed.reason in {"certificate", "tls"} else "address"
        found.red(check, failed.failure, _REACHED[failed.reason] + local)
        return None
    if version.is_redirect:
        where = version.headers.get("location", "").partition("?")[0].rpartition("@")[2]
        fix = "give Milvus the address it redirects to, or have the proxy pass requests on (proxy_pass)"
        found.red("address", f"{client.name} redirects to {where}: Milvus's POST would arrive as a GET", fix)
        return None
    kind, release = _recognized(alive, version.json, info.json)
    seen = f"{_NAMES[kind]} {release[:40]}".strip() + f" answers at {client.name}"
    if kind == "other" and _is_page(version):
        server = version.headers.get("server", "something")
        seen = f"{server} answers at {client.name} with a web page ({version.message}), not with JSON"
        found.red("address", seen, "correct the port, or have that proxy pass /rerank and /v2/rerank on to the gateway")
        return None
    if kind in _UNUSUAL:
        found.yellow("address", seen, _UNUSUAL[kind])
    else:
        found.green("address", seen + (f"; {_HIDES}" if _is_local(client) else ""))
    return Target(client, kind)


def check_path(path: str, found: Findings) -> None:
    """Warn about an endpoint's path, which Milvus ignores."""
    if _HARMLESS_PATHS.fullmatch(path):
        found.green("path", "no path of the endpoint is lost: Milvus calls /rerank (2.6.0 /v2/rerank)")
    else:
        seen = f"the endpoint has the path {path}: Milvus's providers vllm and tei put /rerank in its place"
        fix = "choose a model by ?model=NAME, give the gateway a host or port of its own; "
        fix += "only urls in milvus.yaml keep paths"
        found.yellow("path", seen, fix)


def check_trust(client: ServerClient, found: Findings, *, trusts_all: bool) -> None:
    """Say whether the certificate, with which all calls went well, was looked at."""
    if client.is_secure and trusts_all:
        fix = "run it without --insecure, and with the URL that Milvus has: Milvus checks the certificate"
        found.yellow("certificate", f"the certificate of {client.name} was not looked at", fix)
    elif client.is_secure:
        seen = f"the certificate of {client.name} is trusted here; Milvus's container must trust it too"
        found.green("certificate", seen)


def fix_for(failed: Reply) -> str:
    """The fix for a failed call: which settings to change."""
    if failed.reason:
        return _SLOW
    if failed.is_redirect:
        return "let no proxy redirect: Milvus's POST becomes a GET. Give Milvus the final address"
    if is_about_model(failed):
        return _MODEL
    return _BY_STATUS.get(failed.status, "put the gateway in front, which takes all that Milvus sends")


def is_about_model(reply: Reply) -> bool:
    """True if the server objects to a missing or unknown model."""
    return reply.status in {400, 404, 422} and b"model" in reply.body and b'"error"' in reply.body


def _recognized(alive: Reply, version: object, info: object) -> tuple[Kind, str]:
    """The kind of server, and the release that it reports."""
    match version, info:
        case {"version": release}, _:
            return "gateway" if alive.is_ok and alive.json == {"status": "ok"} else "vllm", str(release)
        case _, {"max_client_batch_size": _, **more}:
            return "tei", str(more.get("version", ""))
    return "other", ""


def _is_local(client: ServerClient) -> bool:
    """True if the endpoint's name is a loopback one, which means another machine elsewhere."""
    return client.host in {"localhost", "::1"} or client.host.startswith("127.")


def _is_page(reply: Reply) -> bool:
    is_html = b"<html" in reply.body[:2000].lower() or "text/html" in reply.headers.get("content-type", "")
    return reply.json is None and is_html
