"""Requests as Milvus's proxy writes them: Go's encoding/json and net/http, byte for byte."""

import json
import re
from collections.abc import Mapping

import httpx

_ESCAPED = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"}


def marshal(fields: Mapping[str, object]) -> bytes:
    """A JSON object as Go's `json.Marshal` writes it: with sorted keys, and `<>&` escaped."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return re.sub("[<>&\u2028\u2029]", lambda found: _ESCAPED[found[0]], text).encode()


def request(method: str, url: httpx.URL, authorization: str | None, body: bytes = b"") -> httpx.Request:
    """A request with the headers of Go's client in its order: its own, then those of the caller, then gzip."""
    headers = {"Host": url.netloc.decode(), "User-Agent": "Go-http-client/1.1"}
    if body:
        headers["Content-Length"] = str(len(body))
    if authorization:
        headers["Authorization"] = authorization
    if body:
        headers["Content-Type"] = "application/json"
    return httpx.Request(method, url, headers={**headers, "Accept-Encoding": "gzip"}, content=body or None)
