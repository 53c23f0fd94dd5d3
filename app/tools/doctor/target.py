"""The server at the endpoint: the gateway, a bare vLLM, TEI, or something else."""

from dataclasses import dataclass
from typing import Any, Literal

from app.tools.doctor.findings import Findings
from app.tools.doctor.server_client import NoAnswer, Reason, Reply, ServerClient

Kind = Literal["gateway", "vllm", "tei", "other"]

_TIMEOUT_S = 4.0
# Milvus replaces these paths, which its users write, with its own.
_HARMLESS_PATHS = {"", "/", "/v1", "/v2", "/rerank", "/v1/rerank", "/v2/rerank"}
_HIDES = "inside a container localhost is the container: name the machine there"
_FIXES: dict[Reason, str] = {
    "dns": "correct the host in the endpoint; names of Docker and Kubernetes are known inside their networks only",
    "refused": "start the gateway, or correct RERANK_HOST and RERANK_PORT; it must listen where Milvus can reach it",
    "certificate": (
        "Milvus won't trust it either: have its container trust the authority (SSL_CERT_FILE), or use http; "
        "to examine it all the same, name the authority in RERANK_WORKER_CA_FILE, or add --insecure"
    ),
    "tls": "write http:// in place of https://, or set RERANK_TLS_CERT_FILE and RERANK_TLS_KEY_FILE",
    "silence": "look for a firewall, for a gateway that hangs, and at the host and port of the endpoint",
    "broken": "correct the scheme (https:// where RERANK_TLS_CERT_FILE is set) and the port of the endpoint",
}


@dataclass(frozen=True)
class Target:
    """The server that answers at the endpoint.

    Args:
        client: The client for it.
        kind: The kind of server, as far as can be told.
        version: The version it reports.
    """

    client: ServerClient
    kind: Kind
    version: str = ""

    @property
    def called(self) -> str:
        """The name of the server in a sentence."""
        names = {"gateway": "rerank-gateway", "vllm": "a bare vLLM", "tei": "TEI", "other": "an unknown server"}
        return f"{names[self.kind]} {self.version}".strip()


async def identify(client: ServerClient, found: Findings) -> Target | None:
    """The server at the endpoint; None when no answer comes that a search could use."""
    try:
        alive, version, info = [
            await client.get(path, timeout_s=_TIMEOUT_S) for path in ("/livez", "/version", "/info")
        ]
    except NoAnswer as failed:
        local = f"; {_HIDES}" if client.is_local and failed.reason == "refused" else ""
        check = "certificate" if failed.reason in {"certificate", "tls"} else "address"
        found.red(check, failed.seen, _FIXES[failed.reason] + local)
        return None
    if version.is_redirect:
        where = version.headers.get("location", "").partition("?")[0].rpartition("@")[2]
        found.red(
            "address",
            f"{client.name} redirects to {where}: Milvus's POST would arrive as a GET",
            "give Milvus the address it redirects to, or have the proxy pass requests on (proxy_pass)",
        )
        return None
    target = Target(client, *_recognized(alive, version, info))
    if target.kind == "other" and _is_page(version):
        server = version.headers.get("server", "something")
        found.red(
            "address",
            f"{server} answers at {client.name} with a web page ({version.told}), not with JSON",
            "correct the port, or have that proxy pass /rerank and /v2/rerank on to the gateway",
        )
        return None
    _tell(target, found)
    return target


def check_path(path: str, found: Findings) -> None:
    """Warn about an endpoint's path, which Milvus ignores."""
    if path.rstrip("/") not in _HARMLESS_PATHS:
        found.yellow(
            "path",
            f"the endpoint has the path {path}: Milvus's providers vllm and tei put /rerank in its place",
            "give the gateway a host name or port of its own; only urls in milvus.yaml keep their path",
        )
    else:
        found.green("path", "no path of the endpoint is lost: Milvus calls /rerank (2.6.0 /v2/rerank)")


def _recognized(alive: Reply, version: Reply, info: Reply) -> tuple[Kind, str]:
    said: Any = version.json
    if isinstance(said, dict) and "version" in said:
        is_gateway = alive.status == 200 and alive.json == {"status": "ok"}  # noqa: PLR2004 - OK
        return ("gateway" if is_gateway else "vllm"), str(said["version"])[:40]
    about: Any = info.json
    if isinstance(about, dict) and "max_client_batch_size" in about:
        return "tei", str(about.get("version", ""))[:40]
    return "other", ""


def _is_page(reply: Reply) -> bool:
    return reply.json is None and (
        b"<html" in reply.content[:2000].lower() or "text/html" in reply.headers.get("content-type", "")
    )


def _tell(target: Target, found: Findings) -> None:
    seen = f"{target.called} answers at {target.client.name}"
    if target.kind == "other":
        found.yellow("address", seen, "expected were rerank-gateway, vLLM or TEI: check host and port of the endpoint")
    elif target.kind == "tei":
        found.yellow(
            "address", seen, 'name the provider "tei" in the search, and keep max_client_batch_size at its own'
        )
    else:
        found.green("address", seen + (f"; {_HIDES}" if target.client.is_local else ""))
