"""How answers and errors leave the gateway: one dump to bytes, one place where an error becomes HTTP."""

from math import ceil

import orjson
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from app.api import dialects
from app.api.dialects.base import Dialect
from app.errors import RerankError, SlowBody, TooLarge, Unauthorized

# What is noted of a client that left before its answer; nobody gets it.
CLIENT_LEFT = 499


class InternalError(RerankError):
    """A bug of ours; the log has its trace."""


def answer(content: object) -> Response:
    """A 200 with `content` as JSON."""
    try:
        body = orjson.dumps(content)
    except orjson.JSONEncodeError:
        # A document that is returned may hold an integer beyond 64 bits, which orjson doesn't write.
        body = to_json(content, inf_nan_mode="null")
    return Response(body, media_type="application/json")


def refusal(request: Request, error: RerankError) -> Response:
    """An error that comes before it is known what the body says: in the shape its path foretells."""
    path = request.scope["path"]
    return error_answer(error, dialects.guess(path, None), path)


def error_answer(error: RerankError, dialect: Dialect, path: str) -> Response:
    """An error in the shape the client's dialect has for it."""
    response = Response(
        orjson.dumps(dialect.render_error(error, path)), status_code=error.status, media_type="application/json"
    )
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, ceil(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, SlowBody | TooLarge):
        # The rest of the body would have to be read and thrown away before the connection could be used again.
        response.headers["Connection"] = "close"
    return response
