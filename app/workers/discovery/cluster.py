"""Access to a Kubernetes cluster: its API server's address, certificate authority and credentials."""

import os
import ssl
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import yaml

from app.settings.certificates import default_context
from app.workers.discovery.source import DiscoveryError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Access(NamedTuple):
    """The address of an API server, the headers with a token for it, and its TLS context."""

    server: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext


def access(environ: Mapping[str, str] = os.environ, *, account: Path = _ACCOUNT) -> Access:
    """The access that `KUBECONFIG` describes, or else the pod's own service account.

    All files are read at every call: tokens change within the hour, and CAs do too.

    Raises:
        DiscoveryError: there is neither, or it can't be used.
    """
    written = environ.get("KUBECONFIG")
    try:
        return _of_kubeconfig(Path(written)) if written else _of_pod(environ, account)
    except (OSError, UnicodeError) as exc:
        # Neither kind's strerror quotes what stands in a file.
        reason = getattr(exc, "strerror", None) or type(exc).__name__
        raise DiscoveryError(f"{getattr(exc, 'filename', None) or written or account}: {reason}") from exc


def _of_pod(environ: Mapping[str, str], account: Path) -> Access:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise DiscoveryError("the gateway runs in no pod: set KUBECONFIG to a file that names the cluster")
    token = (account / "token").read_text().strip()
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server, _bearer(token), _context(cafile=account / "ca.crt"))


def _of_kubeconfig(path: Path) -> Access:
    try:
        written = yaml.safe_load(path.read_text())
        context = _part(written, "context", written["current-context"])
        cluster, user = _part(written, "cluster", context["cluster"]), _part(written, "user", context["user"])
        if "exec" in user or "auth-provider" in user:
            raise DiscoveryError(f"{path}: the user {context['user']} needs a program to log in: give it a token")
        return Access(str(cluster["server"]), _bearer(_token(user, path)), _tls(cluster, user, path))
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as exc:
        # Without the parser's own words: they quote the file, and secrets stand in it.
        raise DiscoveryError(f"{path} is no kubeconfig with a current context ({type(exc).__name__})") from None


def _part(written: Any, kind: str, name: str) -> Mapping[str, Any]:
    """The context, cluster or user of that name."""
    parts = [part[kind] for part in written[f"{kind}s"] if part["name"] == name]
    if not parts:
        raise KeyError(name)
    return dict(parts[0] or {})


def _token(user: Mapping[str, Any], path: Path) -> str:
    written = (path.parent / user["tokenFile"]).read_text() if "tokenFile" in user else user.get("token")
    return str(written or "").strip()


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], path: Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", path)
    tls = _context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if certificate := _content(user, "client-certificate", path):
        # OpenSSL takes it from a file only; this one is ours alone, and gone at once.
        with NamedTemporaryFile() as both:
            both.write(certificate + b"\n" + _content(user, "client-key", path))
            both.flush()
            tls.load_cert_chain(both.name)
    return tls


def _context(**trusted: Any) -> ssl.SSLContext:
    """A context that verifies an API server, whose authority may lack what RFC 5280 asks of it.

    Python 3.13 and newer refuse certificates without key identifiers, as the authorities of EKS issue them.
    """
    tls = default_context(**trusted)
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls


def _content(part: Mapping[str, Any], key: str, path: Path) -> bytes:
    """The content of a key, from the file itself or from another one."""
    if f"{key}-data" in part:
        return b64decode(part[f"{key}-data"])
    return (path.parent / part[key]).read_bytes() if key in part else b""


def _bearer(token: str) -> dict[str, str]:
    if not (token.isascii() and token.isprintable()):
        # An HTTP client would quote it when it refuses to send it.
        raise DiscoveryError("the token for the API server holds characters that no token has")
    return {"Authorization": f"Bearer {token}"} if token else {}
