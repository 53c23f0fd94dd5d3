"""A request before its body is read, and the connection of its client."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import getrandbits
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.types import Receive, Scope

from app.api.paths import Destination

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# The key in the scope's state for what our own server tells of a client beyond ASGI.
CLIENT_CONNECTION = "rerank.client_connection"
# A longer answer is sent in parts of this size: what is written stays in memory until the client reads it.
LONG_BYTES = 256 * 2**10


def do_nothing() -> None:
    """Do nothing: the callback for when there is nothing to do."""


@dataclass(slots=True, eq=False)
class ClientConnection:
    """The connection of a request's client, as the server sees it.

    Args:
        on_loss: Callbacks for when the connection is lost.
        send_whole: Sends an answer in one write; returns False, having sent nothing, when it must go through ASGI.
        hang_up: Closes the connection at once; unsent bytes are lost.
        has_sent_all: True once the whole body has arrived, read or not.
        has_left: True once the connection is lost.
    """

    on_loss: set[Callable[[], None]]
    send_whole: Callable[[Response], bool]
    hang_up: Callable[[], None] = do_nothing
    has_sent_all: bool = False
    has_left: bool = False


class HttpRequest:
    """A request whose body hasn't been read.

    Starlette's own request goes through all headers for each look-up, and raises inside for a missing one; the gateway
    looks up a dozen per request (decision 0013).

    Args:
        scope: What the server knows of it.
        receive: Gives the parts of the body.
        destination: What its path means; by default the path is a route.

    Attributes:
        path: Its route.
        prefix: The dialect that its path begins with; empty when it begins with none.
        model: The model that its path names; empty when it names none.
        headers: By name in small letters; of several with one name the first.
        parameters: Of the query string; of several with one name the last.
        request_id: The client's, or ours.
        key: The name of its API key; empty until that is known.
        receive: Gives the parts of the body.
        client_connection: Of its client; None when another server than ours serves.
        scope: All that the server knows of it.
    """

    __slots__ = (
        "client_connection",
        "headers",
        "key",
        "model",
        "parameters",
        "path",
        "prefix",
        "receive",
        "request_id",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, destination: Destination | None = None) -> None:
        self.scope = scope
        self.receive = receive
        self.path, self.prefix, self.model = destination or Destination(scope["path"])
        self.key = ""
        self.client_connection: ClientConnection | None = scope.get("state", {}).get(CLIENT_CONNECTION)
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])
        }
        given = self.headers.get("x-request-id", "")
        # Request ids are unique, and needn't be hard to guess.
        self.request_id = given if _REQUEST_ID.fullmatch(given) else f"{getrandbits(64):016x}"
        query = scope["query_string"]
        self.parameters: Mapping[str, str] = (
            dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}
        )
