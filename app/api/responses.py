"""HTTP responses: answers as JSON, and errors with their status and headers."""

from math import ceil

import orjson
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from app.api import dialects
from app.api.dialects.base import Dialect
from app.api.paths import prefix_of
from app.errors import RerankError, Unauthorized

# The status in log and metrics for a client that left before its answer; it is never sent.
CLIENT_LEFT = 499


class InternalError(RerankError):
    """An error nobody foresaw: a bug, whose trace is in the log."""


def answer(content: object) -> Response:
    """A response with status 200 and `content` as JSON."""
    try:
        body = orjson.dumps(content)
    except orjson.JSONEncodeError:
        # A returned document may hold an integer beyond 64 bits, which orjson can't write.
        body = to_json(content, inf_nan_mode="null")
    return Response(body, media_type="application/json")


def refusal(request: Request, error: RerankError) -> Response:
    """The response for an error before the body is read, in the dialect that its path suggests."""
    path = request.scope["path"]
    return error_answer(error, dialects.guess(path, None, prefix_of(path)), path)


def error_answer(error: RerankError, dialect: Dialect, path: str) -> Response:
    """The response for an error, in the client's dialect."""
    response = Response(
        orjson.dumps(dialect.render_error(error, path)), status_code=error.status, media_type="application/json"
    )
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, ceil(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = error.challenge
    return response
