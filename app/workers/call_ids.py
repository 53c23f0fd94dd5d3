"""The ids of calls to workers, no two of which are the same."""

from itertools import count
from random import randrange

# As many digits each time, and room for a million calls per second for days before there is one more.
_FIRST = range(10**11, 2 * 10**11)


class CallIds:
    """Makes the id of each call: that of the request it is made for, a dash, a number.

    Requests may share an id: clients choose it, and they, or a proxy, send it again when they try again. Calls may not:
    up to 0.27.1 vLLM keeps a late-interaction model's query under the id of its call, and scores another call's
    documents by it (vllm#51445).

    One object numbers all calls of a process. It begins at random, since other replicas and the process before this one
    may have been asked under the same ids.
    """

    def __init__(self) -> None:
        self._numbers = count(randrange(_FIRST.start, _FIRST.stop))  # noqa: S311 - unique, and needn't be hard to guess

    def new(self, request_id: str) -> str:
        """The id of one more call for a request."""
        return f"{request_id}-{next(self._numbers)}"
