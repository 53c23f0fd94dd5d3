"""SGLang's shape, which Milvus's provider of that name reads. Its requests look like vLLM's."""

from app.api.dialects import base, schemas
from app.api.dialects.vllm import VllmBody
from app.types import RerankRequest, Scored


class Sglang(base.Dialect):
    """A bare list of `{index, score}`, best first."""

    name = "sglang"
    request = "as `vllm`; documents are returned only on request"
    answer = "a bare list of `index`, `score`, `document`"
    body = VllmBody
    shown = list[schemas.Row]

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return base.rows(request, scored, score="score", document="document")
