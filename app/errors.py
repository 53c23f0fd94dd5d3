"""Every way a request can fail.

    RerankError            what a client is told: status, type, message
    |- BadInput            400  the request is wrong; `param` says where
    |- Unauthorized        401
    |  `- NoAdminKey            an API key doesn't do
    |- UnknownModel        404
    |- UnknownRoute        404
    |- WrongMethod         405
    |- SlowBody            408
    |- TooLarge            413
    |- WrongMediaType      415
    |- Overloaded          429  shed; come back after `retry_after_s`
    |- BadGateway          502  workers answered badly
    |  `- AllMisconfigured      or can't serve us as they are set up
    |- NoWorker            503  no usable worker; come back after `retry_after_s`
    |- OutOfTime           504  time ran out while a worker worked
    `- OperatorError            what only /admin and /ui tell
       |- Forbidden        403  not from there
       |- UnknownWorker    404
       `- LastWorker       409  a model would be left without a worker

    WorkerError            what went wrong with one attempt on one worker
    |- Unreachable         the connection was refused: nothing was spent
    |  |- Unheard          nothing has come from it yet
    |  `- Vanished         gone before the first byte of an answer: hardly anything was spent
    |- Dropped             broke off in the middle of an answer
    |- OutOfFiles          the gateway may open no more files, so none for a connection
    |- Stalled             no answer within the attempt's limit
    |- Unavailable         500, 502 or 504
    |  `- Busy             429 or 503: it has enough work
    |- BadAnswer           an answer that is no list of n finite scores
    |- Refused             400, 413 or 422: it objects to the content
    |- LacksRoute          it has no route for calls of this kind: it serves all others
    `- Misconfigured       401, 403, 404, 405 or a redirect: it can't serve us as it is set up

A `WorkerError` never reaches a client: the attempts goes elsewhere, and `to_client_error` translates the last one.
"""

from typing import ClassVar, Literal

ShedReason = Literal["queue", "deadline", "pending", "key", "bytes"]
ConnectionShedReason = Literal["full", "unread"]


class RerankError(Exception):
    """A failure that a client is told about.

    Args:
        message: What is wrong, which part of the request, and what to do. Never text of a query or document.
        param: The request field at fault, such as `documents[3]`.
        retry_after_s: Seconds after which a new try makes sense; sent as `Retry-After`.
        words: The part of the message that a worker said of the client's texts, which it may have quoted.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "InternalServerError"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None, words: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self._words = words

    @property
    def redacted(self) -> str:
        """The message for all but the client whose texts these are."""
        return _without(self._words, self.message)


class BadInput(RerankError):
    """The request can't be served as it is written."""

    status = 400
    type = "BadRequestError"


class Unauthorized(RerankError):
    """No API key, or one that isn't known."""

    status = 401
    type = "AuthenticationError"
    challenge: ClassVar[str] = "Bearer"


class NoAdminKey(Unauthorized):
    """Not the admin key. The challenge has browsers ask for it."""

    challenge = 'Basic realm="rerank-gateway admin"'


class UnknownModel(RerankError):
    """No worker serves the model that was asked for."""

    status = 404
    type = "NotFoundError"


class UnknownRoute(RerankError):
    """There is nothing at this path."""

    status = 404
    type = "NotFoundError"


class WrongMethod(RerankError):
    """There is something at this path, but not for this method."""

    status = 405
    type = "MethodNotAllowedError"


class SlowBody(RerankError):
    """The body didn't arrive in time, or stopped half way."""

    status = 408
    type = "RequestTimeoutError"


class TooLarge(RerankError):
    """The body has more bytes than the gateway takes."""

    status = 413
    type = "RequestTooLargeError"


class WrongMediaType(RerankError):
    """The body isn't plain `application/json`."""

    status = 415
    type = "UnsupportedMediaTypeError"


class Overloaded(RerankError):
    """The gateway holds as much work as it can finish in time.

    Args:
        message: As for every error.
        reason: Too long a queue, or one that outlasts the deadline; too many documents pending in all, or of the key;
            too many bytes of bodies.
        retry_after_s: As for every error.
    """

    status = 429
    type = "RateLimitError"

    def __init__(self, message: str, *, reason: ShedReason, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.reason = reason


class BadGateway(RerankError):
    """Every worker that was tried answered badly or is misconfigured."""

    status = 502
    type = "BadGatewayError"


class AllMisconfigured(BadGateway):
    """Every worker there is can't serve us as it is set up."""


class NoWorker(RerankError):
    """No worker that serves the model can be used now."""

    status = 503
    type = "ServiceUnavailableError"


class DeadlineExceeded(RerankError):
    """The deadline passed while a worker was working."""

    status = 504
    type = "GatewayTimeoutError"


class OperatorError(RerankError):
    """What an operator is told; clients that want scores never are."""


class Forbidden(OperatorError):
    """The gateway isn't operated from there."""

    status = 403
    type = "PermissionDeniedError"


class UnknownWorker(OperatorError):
    """No worker has this name."""

    status = 404
    type = "NotFoundError"


class LastWorker(OperatorError):
    """Without this worker a model would have none."""

    status = 409
    type = "ConflictError"


class WorkerError(Exception):
    """One attempt on one worker failed.

    Args:
        reason: What happened, starting with the worker's name: "gpu-1:8000 returned 7 scores for 8 documents".
        retry_after_s: The worker's own `Retry-After`, in seconds.
        words: The part of the reason that the worker said of the texts it got, which it may have quoted.
    """

    outcome: ClassVar[str] = "error"

    def __init__(self, reason: str, *, retry_after_s: float | None = None, words: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.words = words

    @property
    def redacted(self) -> str:
        """The reason for all but the client whose texts these are."""
        return _without(self.words, self.reason)


class Unreachable(WorkerError):
    """The connection was refused, or didn't come about."""

    outcome = "unreachable"


class NotProbed(Unreachable):
    """It is new: no probe of it has ended yet."""


class ClosedBeforeResponse(Unreachable):
    """The connection died before the first byte of an answer, as an idle one may do in the moment it is used again."""

    outcome = "closed_before_response"


class ClosedMidResponse(WorkerError):
    """The connection died in the middle of an answer."""

    outcome = "closed_mid_response"


class OutOfFiles(WorkerError):
    """The gateway has as many open files as it may. It says nothing of the worker."""

    outcome = "no_files"


class AttemptTimeout(WorkerError):
    """The worker didn't answer within the attempt's limit."""

    outcome = "attempt_timeout"


class Unavailable(WorkerError):
    """The worker says that it can't serve now: a 5xx."""

    outcome = "unavailable"


class Busy(Unavailable):
    """The worker has enough work: 429 or 503. It is well; it only needs a rest from us."""

    outcome = "busy"


class BadAnswer(WorkerError):
    """The worker answered 200 with something that is no list of n finite scores."""

    outcome = "bad_answer"


class ContentRejected(WorkerError):
    """The worker objects to the content of the call: 400, 413 or 422."""

    outcome = "content_rejected"


class LacksRoute(WorkerError):
    """The worker has no route for calls of this kind. That is no fault: it serves all others."""

    outcome = "lacks_route"


class Misconfigured(WorkerError):
    """The worker can't serve us as it is set up: 401, 403, 404, 405 or a redirect."""

    outcome = "misconfigured"


class ChunkTooBig(Exception):
    """No usable worker takes this many documents in one call."""


class FingerprintGone(Exception):
    """The last usable worker of the fingerprint a request was pinned to has gone."""


def to_client_error(error: WorkerError) -> RerankError:
    """What a client is told when `error` was the last try of a chunk."""
    words = error.words
    match error:
        case ContentRejected():
            return BadInput(error.reason, words=words)
        case AttemptTimeout():
            return DeadlineExceeded(f"Time ran out: {error.reason}.")
        case Unavailable() | Unreachable() | OutOfFiles():
            wait_s = error.retry_after_s or 1.0
            return NoWorker(f"No worker can serve now: {error.reason}.", retry_after_s=wait_s, words=words)
        case _:
            return BadGateway(f"No worker gave a usable answer: {error.reason}.", words=words)


def _without(words: str, message: str) -> str:
    return message.replace(words, "(what the worker said of the texts)") if words else message
