"""All errors: every way a request, or one attempt to serve it, can fail.

RerankError            a failure that a client is told: status, type, message
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
|- DeadlineExceeded    504  time ran out while a worker worked
`- OperatorError            only /admin and /ui tell it
   |- Forbidden        403  not from there
   |- UnknownWorker    404
   `- LastWorker       409  a model would be left without a worker

WorkerError            a failure of one attempt on one worker; the gateway translates the last one for the client
|- Unreachable         no connection came about: nothing was spent
|  |- NotProbed        it is new: no probe of it has ended yet
|  `- ClosedBeforeResponse  gone before the first byte of an answer: hardly anything was spent
|- ClosedMidResponse   broke off in the middle of an answer
|- OutOfFiles          the gateway may open no more files, so none for a connection
|- AttemptTimeout      no answer within the attempt's limit
|- Unavailable         500, 502 or 504
|  `- Busy             429 or 503: it has enough work
|- BadAnswer           an answer that is no list of n finite scores
|- ContentRejected     400, 413 or 422: it objects to the content
|- LacksRoute          it has no route for calls of this kind: it serves all others
`- Misconfigured       401, 403, 404, 405 or a redirect: it can't serve us as it is set up

ChunkTooBig            no usable worker takes so many documents in one call: the chunk is split
FingerprintGone        the model's workers were replaced meanwhile: the request starts again on the new ones
"""

from typing import ClassVar, Literal

ShedReason = Literal["queue", "deadline", "pending", "key", "bytes"]
ConnectionShedReason = Literal["full", "unread"]


# Of a message to a client: `/rerank` says it twice, and Milvus shows all of it to its user.
_TOLD_CHARS = 299


class _Failure(Exception):
    """A failure whose message may quote a client's texts, in the part that is `words`."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, words: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.words = words

    @property
    def redacted(self) -> str:
        """The message for all but the client whose texts these are."""
        return self.message.replace(self.words, "(what the worker said of the texts)") if self.words else self.message


class RerankError(_Failure):
    """A failure that a client is told about.

    Args:
        message: The fault, the part of the request it is in, and what to do. Never text of a query or document.
        param: The request field at fault, such as `documents[3]`.
        retry_after_s: Seconds after which a new try makes sense; sent as `Retry-After`.
        words: The part of the message that a worker said of the client's texts, which it may have quoted.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "InternalServerError"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None, words: str = ""
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, words=words)
        self.param = param

    @property
    def told(self) -> str:
        """The message as far as the client is told it; the log has it whole."""
        return self.message if len(self.message) <= _TOLD_CHARS else f"{self.message[: _TOLD_CHARS - 3]}..."


class BadInput(RerankError):
    """The request can't be served as it is written."""

    status = 400
    type = "BadRequestError"


class Unauthorized(RerankError):
    """The API key is missing or unknown."""

    status = 401
    type = "AuthenticationError"
    challenge: ClassVar[str] = "Bearer"


class NoAdminKey(Unauthorized):
    """The admin key is missing; the challenge makes browsers ask for it."""

    challenge = 'Basic realm="rerank-gateway admin"'


class UnknownModel(RerankError):
    """No worker serves the model that was asked for."""

    status = 404
    type = "NotFoundError"


class UnknownRoute(RerankError):
    """No route has this path."""

    status = 404
    type = "NotFoundError"


class WrongMethod(RerankError):
    """The route at this path doesn't take this method."""

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
    """The gateway holds as much work as it can finish in time; `reason` is the limit the request would pass."""

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
    """All workers are misconfigured."""


class NoWorker(RerankError):
    """No worker that serves the model can be used now."""

    status = 503
    type = "ServiceUnavailableError"


class DeadlineExceeded(RerankError):
    """The deadline passed while a worker was working."""

    status = 504
    type = "GatewayTimeoutError"


class OperatorError(RerankError):
    """A failure that only an operator is told about, never a client that wants scores."""


class Forbidden(OperatorError):
    """The gateway may not be operated from the caller's address or origin."""

    status = 403
    type = "PermissionDeniedError"


class UnknownWorker(OperatorError):
    """No worker has this name."""

    status = 404
    type = "NotFoundError"


class LastWorker(OperatorError):
    """A model would be left without a worker."""

    status = 409
    type = "ConflictError"


class WorkerError(_Failure):
    """One attempt on one worker failed.

    Args:
        message: The event, starting with the worker's name: "gpu-1:8000 returned 7 scores for 8 documents".
        retry_after_s: The worker's own `Retry-After`, in seconds.
        words: The part of the message that the worker said of the texts it got, which it may have quoted.
    """

    outcome: ClassVar[str] = "error"


class Unreachable(WorkerError):
    """The connection was refused, or didn't come about."""

    outcome = "unreachable"


class NotProbed(Unreachable):
    """The worker is new: no probe of it has ended yet."""


class ClosedBeforeResponse(Unreachable):
    """The connection died before the first byte of an answer, as an idle one may do in the moment it is used again."""

    outcome = "closed_before_response"


class ClosedMidResponse(WorkerError):
    """The connection died in the middle of an answer."""

    outcome = "closed_mid_response"


class OutOfFiles(WorkerError):
    """The gateway has as many open files as it may; that says nothing about the worker."""

    outcome = "no_files"


class AttemptTimeout(WorkerError):
    """The worker didn't answer within the attempt's limit."""

    outcome = "attempt_timeout"


class Unavailable(WorkerError):
    """The worker says that it can't serve now: a 5xx."""

    outcome = "unavailable"


class Busy(Unavailable):
    """The worker has enough work: 429 or 503. It is well, and the gateway backs off."""

    outcome = "busy"


class BadAnswer(WorkerError):
    """The worker answered 200 with something that is no list of n finite scores."""

    outcome = "bad_answer"


class ContentRejected(WorkerError):
    """The worker objects to the content of the call: 400, 413 or 422."""

    outcome = "content_rejected"


class LacksRoute(WorkerError):
    """The worker has no route for calls of this kind; that is no fault, since it serves all others."""

    outcome = "lacks_route"


class Misconfigured(WorkerError):
    """The worker can't serve us as it is set up: 401, 403, 404, 405 or a redirect."""

    outcome = "misconfigured"


class ChunkTooBig(Exception):
    """No usable worker takes this many documents in one call."""


class FingerprintGone(Exception):
    """The last usable worker of the fingerprint a request was pinned to has gone."""
