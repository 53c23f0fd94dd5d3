"""What `rerank-gateway verify --json` prints, field by field, as docs/verify.md describes it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Compared(_Strict):
    documents: int
    largest: float
    mean: float
    pairs: int
    swaps: int
    top_10: int
    tau: float


class Split(Compared):
    max_batch: int
    documents_per_s: list[float]


class Suspicion(_Strict):
    reason: str
    seen: str
    cause: str
    fix: str


class Check(_Strict):
    kept: int
    asked: int
    unsure_of: list[str]
    profile: dict[str, str | bool]
    suspicion: Suspicion | None


class Worker(_Strict):
    name: str
    root: str
    version: str
    max_model_len: int
    verdict: Literal["safe", "precision", "not_safe"]
    check: Check
    repeated: Compared
    shuffled: Compared
    neighbours: Compared | None
    alone: Compared
    splits: list[Split]


class Across(Compared):
    worker: str
    base: str = Field(alias="from")


class Verdict(_Strict):
    kind: Literal["safe", "precision", "listwise", "not_safe", "workers_differ"]
    text: str
    advice: str
    max_batch: int | None
    needs_action: bool


class Sample(_Strict):
    queries: int
    documents: int


class Report(_Strict):
    """The whole of it."""

    model: str
    sample: Sample
    workers: list[Worker]
    across: list[Across]
    verdict: Verdict
