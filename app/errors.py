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
|- SuspectModel        503  the model is served wrongly, and RERANK_SUSPECT_MODELS=refuse
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
|  `- NotFinite           a score is NaN or infinite
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
# Stands for the words of a worker in a message, which are put in its place for the client alone.
SAID = "(what the worker said of the texts)"


class _Failure(Exception):
    """A failure whose message may quote a client's texts, where a worker's words stand in it.

    `redacted` is the message for all but the client whose texts these are: it has `SAID` in place of the words.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, words: str = "") -> None:
        self.redacted = message
        self.message = message.replace(SAID, words)
        self.retry_after_s = retry_after_s
        self.words = words
        super().__init__(self.message)


class RerankError(_Failure):
    """A failure that a client is told about.

    Args:
        message: The fault, the part of the request it is in, and what to do. Never text of a query or document.
        param: The request field at fault, such as `documents[3]`.
        retry_after_s: Seconds after which a new try makes sense; sent as `Retry-After`.
        words: A worker's words on the client's texts, perhaps with quotes; they stand where the message has `SAID`.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "InternalServerError"

    def __init_subclass__(cls, *, status: int | None = None, kind: str | None = None) -> None:
        """Take an error's HTTP status, and its kind, the `type` in the answer; both are inherited where not given."""
        super().__init_subclass__()
        cls.status, cls.kind = status or cls.status, kind or cls.kind

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None, words: str = ""
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, words=words)
        self.param = param

    @property
    def told(self) -> str:
        """The message as far as the client is told it; the log has it whole."""
        return self.message if len(self.message) <= _TOLD_CHARS else f"{self.message[: _TOLD_CHARS - 3]}..."


class BadInput(RerankError, status=400, kind="BadRequestError"):
    """The request can't be served as it is written."""


class Unauthorized(RerankError, status=401, kind="AuthenticationError"):
    """The API key is missing or unknown."""

    challenge: ClassVar[str] = "Bearer"


class NoAdminKey(Unauthorized):
    """The admin key is missing; the challenge makes browsers ask for it."""

    challenge = 'Basic realm="rerank-gateway admin"'


class UnknownModel(RerankError, status=404, kind="NotFoundError"):
    """No worker serves the model that was asked for."""


class UnknownRoute(RerankError, status=404, kind="NotFoundError"):
    """No route has this path."""


class WrongMethod(RerankError, status=405, kind="MethodNotAllowedError"):
    """The route at this path doesn't take this method."""


class SlowBody(RerankError, status=408, kind="RequestTimeoutError"):
    """The body didn't arrive in time, or stopped half way."""


class TooLarge(RerankError, status=413, kind="RequestTooLargeError"):
    """The body has more bytes than the gateway takes."""


class WrongMediaType(RerankError, status=415, kind="UnsupportedMediaTypeError"):
    """The body isn't plain `application/json`."""


class Overloaded(RerankError, status=429, kind="RateLimitError"):
    """The gateway holds as much work as it can finish in time; `reason` is the limit the request would pass."""

    def __init__(self, message: str, *, reason: ShedReason, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.reason = reason


class BadGateway(RerankError, status=502, kind="BadGatewayError"):
    """Every worker that was tried answered badly or is misconfigured."""


class AllMisconfigured(BadGateway):
    """All workers are misconfigured."""


class NoWorker(RerankError, status=503, kind="ServiceUnavailableError"):
    """No worker that serves the model can be used now."""


class SuspectModel(RerankError, status=503, kind="ServiceUnavailableError"):
    """The model's scores mean nothing as it is served, and the settings refuse to hand them out."""


class DeadlineExceeded(RerankError, status=504, kind="GatewayTimeoutError"):
    """The deadline passed while a worker was working."""


class OperatorError(RerankError):
    """A failure that only an operator is told about, never a client that wants scores."""


class Forbidden(OperatorError, status=403, kind="PermissionDeniedError"):
    """The gateway may not be operated from the caller's address or origin."""


class UnknownWorker(OperatorError, status=404, kind="NotFoundError"):
    """No worker has this name."""


class LastWorker(OperatorError, status=409, kind="ConflictError"):
    """A model would be left without a worker."""


class WorkerError(_Failure):
    """One attempt on one worker failed.

    Args:
        message: The event, starting with the worker's name: "gpu-1:8000 returned 7 scores for 8 documents".
        retry_after_s: The worker's own `Retry-After`, in seconds.
        words: The worker's words on the texts it got, perhaps with quotes; they stand where the message has `SAID`.
    """

    outcome: ClassVar[str] = "error"

    def __init_subclass__(cls, *, outcome: str | None = None) -> None:
        """Take the outcome of the attempt, as metrics and traces name it; it is inherited where not given."""
        super().__init_subclass__()
        cls.outcome = outcome or cls.outcome


class Unreachable(WorkerError, outcome="unreachable"):
    """The connection was refused, or didn't come about."""


class NotProbed(Unreachable):
    """The worker is new: no probe of it has ended yet."""


class ClosedBeforeResponse(Unreachable, outcome="closed_before_response"):
    """The connection died before the first byte of an answer, as an idle one may do in the moment it is used again."""


class ClosedMidResponse(WorkerError, outcome="closed_mid_response"):
    """The connection died in the middle of an answer."""


class OutOfFiles(WorkerError, outcome="no_files"):
    """The gateway has as many open files as it may; that says nothing about the worker."""


class AttemptTimeout(WorkerError, outcome="attempt_timeout"):
    """The worker didn't answer within the attempt's limit."""


class Unavailable(WorkerError, outcome="unavailable"):
    """The worker says that it can't serve now: a 5xx."""


class Busy(Unavailable, outcome="busy"):
    """The worker has enough work: 429 or 503. It is well, and the gateway backs off."""


class BadAnswer(WorkerError, outcome="bad_answer"):
    """The worker answered 200 with something that is no list of n finite scores."""


class NotFinite(BadAnswer):
    """The worker computed a score that is NaN or infinite."""


class ContentRejected(WorkerError, outcome="content_rejected"):
    """The worker objects to the content of the call: 400, 413 or 422."""


class LacksRoute(WorkerError, outcome="lacks_route"):
    """The worker has no route for calls of this kind; that is no fault, since it serves all others."""


class Misconfigured(WorkerError, outcome="misconfigured"):
    """The worker can't serve us as it is set up: 401, 403, 404, 405 or a redirect."""


class ChunkTooBig(Exception):
    """No usable worker takes this many documents in one call."""


class FingerprintGone(Exception):
    """The last usable worker of the fingerprint a request was pinned to has gone."""
