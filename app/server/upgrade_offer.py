"""Offers to switch the protocol, which are ignored.

Java's HttpClient and `curl --http2` make one with their first request (`Upgrade: h2c`), and go on in HTTP/1.1 when the
answer doesn't take it up.
"""

from collections.abc import Sequence

from httptools import HttpParserError, HttpRequestParser

# The headers of an offer; `Connection` names them, too.
_HEADERS = frozenset({b"upgrade", b"http2-settings"})


def written_without_offer(parser: HttpRequestParser, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The head of a request without its offer to switch the protocol.

    Args:
        parser: The parser that has just read the head.
        url: Its URL.
        headers: Its headers, with names in small letters.

    Raises:
        HttpParserError: the client asks for a tunnel with CONNECT.
    """
    method: bytes = parser.get_method()
    if method == b"CONNECT":
        raise HttpParserError("a tunnel")
    lines = [b"%s %s HTTP/%s" % (method, url, parser.get_http_version().encode())]
    for name, value in headers:
        if name == b"connection":
            tokens = (token.strip() for token in value.split(b","))
            kept = b", ".join(token for token in tokens if token.lower() not in _HEADERS)
            lines.append(b"connection: " + kept)
        elif name not in _HEADERS:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"\r\n"])
