"""The image's health check: asks the gateway of this container whether it is alive, where its settings have it listen.

Run as `python -m app.tools.healthcheck`, every few seconds: it loads nothing that takes long, such as the settings.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

_TIMEOUT_S = 2.0
_NAMES = ("host", "port", "tls_cert_file", "tls_client_ca_file")
_ANY = {"", "0.0.0.0", "::"}  # noqa: S104 - nothing is bound here


def is_alive(environ: Mapping[str, str]) -> bool:
    """True when the gateway that these variables and their file describe answers `/livez`.

    With `tls_client_ca_file` it answers only who has a certificate: then a handshake is enough.
    """
    settings = _from_file(environ.get("RERANK_CONFIG")) | {
        name: value for name in _NAMES if (value := environ.get(f"RERANK_{name.upper()}"))
    }
    host, port = str(settings.get("host") or "127.0.0.1"), int(settings.get("port") or 8080)
    hosts = ("127.0.0.1", "::1") if host in _ANY else (host,)
    return any(_answers(each, port, settings) for each in hosts)


def _from_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    # A tenth of a second, for those who have a file.
    import yaml  # noqa: PLC0415

    written = yaml.safe_load(Path(path).read_text())
    return written if isinstance(written, dict) else {}


def _answers(host: str, port: int, settings: Mapping[str, Any]) -> bool:
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)
    if settings.get("tls_cert_file"):
        # Its certificate names the host that clients use.
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=trusting)
    try:
        connection.connect()
        if settings.get("tls_client_ca_file"):
            return True
        connection.request("GET", "/livez")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_alive(os.environ))
