"""Cohere's v2 shape, which never returns documents. Milvus 2.6.0 reads it too."""

from app.api.dialects import base
from app.types import RerankRequest


class Cohere2Body(base.RankBody):
    """A rerank request as Cohere's v2 clients write it."""

    top_n: base.Wanted = None

    def request(self) -> RerankRequest:
        return self.request_for([self.query], self.documents, top_n=self.top_n)


class Cohere2(base.Dialect):
    """`results` with `relevance_score`, best first."""

    name = "cohere2"
    routes = ("/v2/rerank",)
    request = "`query`, `documents`, `top_n`"
    answer = "as `cohere1`, never with documents"
    body = Cohere2Body
    api_version = "2"
