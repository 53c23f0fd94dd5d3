"""Infinity's shape. Its requests look like vLLM's; a returned document is a plain string."""

from pydantic import Field

from app.api.dialects import base
from app.types import RerankRequest


class InfinityBody(base.RankBody):
    """A rerank request as Infinity's clients write it."""

    top_n: base.Wanted = None
    return_documents: bool | None = None
    raw_scores: bool | None = Field(default=None, description="true returns raw logits.")

    def request(self) -> RerankRequest:
        fields = self.scoring_fields()
        if self.raw_scores:
            fields["use_activation"] = False
        echo = base.plain_echo(self.documents, wanted=self.return_documents)
        return self.request_for([self.query], self.documents, top_n=self.top_n, echo=echo, fields=fields)


class Infinity(base.Dialect):
    """`results` with `relevance_score`, best first."""

    name = "infinity"
    request = "`query`, `documents`, `top_n`, `return_documents`, `raw_scores`"
    answer = "as `vllm`; a returned `document` is a plain string"
    body = InfinityBody
