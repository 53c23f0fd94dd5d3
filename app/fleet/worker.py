"""One worker as the gateway sees it."""

from collections.abc import Mapping

from app.errors import Unreachable, WorkerError
from app.fleet.link import Identity, WorkerLink
from app.work import Fingerprint


class Worker:
    """A worker's state: what it serves, whether it can be used, and what it is doing for us.

    A worker starts unusable and becomes usable once it has said what it serves. It is suspected when a connection
    failed, and usable again once it has identified itself anew: it may have come back with another model.
    """

    def __init__(self, link: WorkerLink) -> None:
        self.link = link
        self.name = link.name
        self.serves: dict[str, Fingerprint] = {}
        self.trouble: WorkerError | None = Unreachable(f"{link.name} has not answered yet")
        self.calls = 0
        self.tokens = 0

    @property
    def is_usable(self) -> bool:
        """Whether it may be given work."""
        return self.trouble is None

    def identified(self, identity: Identity, revisions: Mapping[str, str]) -> None:
        """It answered: from now on it can be used for the models it named."""
        self.serves = {
            model.name: Fingerprint(
                model.name, model.root, model.max_model_len, identity.version, revisions.get(model.name, "")
            )
            for model in identity.models
        }
        self.trouble = None

    def suspect(self, trouble: WorkerError) -> None:
        """It can't be used until it has identified itself again. What it served stays known."""
        self.trouble = trouble

    def take(self, tokens: int) -> None:
        """One call more in flight."""
        self.calls += 1
        self.tokens += tokens

    def give_back(self, tokens: int) -> None:
        """One call less in flight."""
        self.calls -= 1
        self.tokens -= tokens

    def __repr__(self) -> str:
        state = "usable" if self.trouble is None else f"unusable: {self.trouble.reason}"
        return f"<Worker {self.name} {state}, {self.calls} calls, {self.tokens} tokens in flight>"
