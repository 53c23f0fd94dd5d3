"""The settings of one model."""

from pydantic import BaseModel, ConfigDict, Field

from app.policy.truncate import Truncation


class ModelSettings(BaseModel):
    """Settings of one model: what its workers don't report."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    aliases: tuple[str, ...] = ()
    """other names clients may use for the model; `*` in one stands for any text. Names that workers serve win over
    exact aliases, these over patterns, longer patterns over shorter ones"""
    truncation: Truncation = "pair"
    """what is cut when a pair is too long: pair (the end of both texts together) for cross-encoders, document for
    models behind a chat template"""
    template_tokens: int = Field(default=160, ge=0)
    """tokens of the chat template around both texts, including its instruction"""
    listwise: bool = False
    """on: the model compares documents with each other, so lists are never split or deduplicated"""
    start_s: float = Field(default=120.0, gt=0)
    """seconds that a first worker takes to serve; the `Retry-After` of a 503 that comes of the model having none"""
    scales_to_zero: bool = False
    """on: the model may be without a worker while nobody asks for it; a replica is ready without one"""
    revision: str = ""
    """any text that names the version of the weights; change it when they change under the same name"""
