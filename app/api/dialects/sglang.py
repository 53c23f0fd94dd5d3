"""SGLang's shape, which Milvus's provider of that name reads. Its requests look like vLLM's."""

from collections.abc import Mapping
from typing import Any, ClassVar

from app.api.dialects import base
from app.api.dialects.vllm import Vllm
from app.errors import RerankError
from app.types import RerankRequest, Scored


class Sglang:
    """A bare list of `{index, score}`, best first."""

    name: ClassVar[str] = "sglang"

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        return Vllm(echoes=False).parse(body)

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return base.rows(request, scored, score="score", document="document")

    def render_error(self, error: RerankError, path: str) -> object:
        return base.render_openai_error(error, path)
