"""NVIDIA's shape, of its NIM for text reranking."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from app.api.dialects import base, schemas
from app.types import RerankRequest, Scored


class NvidiaBody(base.Wire):
    """A ranking request as NVIDIA's clients write it."""

    query: base.Query
    passages: base.Passages
    top_n: base.Wanted = None
    truncate: Literal["NONE", "END"] | None = Field(
        default=None, description="NONE makes texts too long for the model an error."
    )

    def request(self) -> RerankRequest:
        is_cut = None if self.truncate is None else self.truncate == "END"
        fields = {"use_activation": False} | self.scoring_fields()
        return self.request_for([self.query], self.passages, top_n=self.top_n, is_cut=is_cut, fields=fields)


class Ranking(schemas.Shown):
    """One passage of a ranking."""

    index: int
    logit: float
    passage: schemas.PassageRange | None = None


class NvidiaAnswer(schemas.Shown):
    """The ranking of NVIDIA, best first."""

    rankings: list[Ranking]
    usage: schemas.Usage


class Nvidia(base.Dialect):
    """`rankings` with the raw `logit`, best first."""

    name = "nvidia"
    routes = ("/v1/ranking",)
    sign = "`passages`"
    request = '`query` and `passages` (`{"text"}` or strings), `top_n`, `truncate`'
    answer = "`rankings` of `index`, `logit`: raw scores, unless `use_activation` is sent"
    texts = ("passages",)
    body = NvidiaBody
    shown = NvidiaAnswer
    example: ClassVar[Mapping[str, Any]] = {
        "query": {"text": base.QUERY},
        "passages": [{"text": text} for text in base.DOCUMENTS],
        "truncate": "END",
    }

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return "passages" in body

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        rankings = base.rows(request, scored, score="logit", document="document")
        return {"rankings": rankings, "usage": schemas.usage(scored)}
