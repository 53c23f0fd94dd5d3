"""The settings of one model."""

from pydantic import BaseModel, ConfigDict, Field

from app.policy.model_profile import Traits
from app.policy.score_scale import Normalize
from app.policy.truncate import Truncation
from app.types import Kind, LongDocuments, ScoreScale


class ModelSettings(BaseModel):
    """Settings of one model: what its workers don't report. What of its profile isn't set is learned."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    aliases: tuple[str, ...] = ()
    """other names clients may use for the model; `*` in one stands for any text. Names that workers serve win over
    exact aliases, these over patterns, longer patterns over shorter ones"""
    kind: Kind | None = None
    """how the model compares a query with documents: cross_encoder, template (a language model behind a chat template),
    bi_encoder, late_interaction, or listwise (it compares documents with each other, so lists are never split or
    deduplicated)"""
    truncation: Truncation | None = None
    """what is cut when a pair is too long: pair (the end of both texts together) for cross-encoders, document for
    models behind a chat template and listwise ones"""
    score_scale: ScoreScale | None = None
    """what scores are: probability (0 to 1), cosine (-1 to 1), logit (any number) or maxsim (a sum over the query's
    tokens)"""
    multimodal: bool | None = None
    """true: documents and queries may have images"""
    split_images: bool | None = None
    """false: a request that holds images goes to a worker in one call, and its scores aren't kept, since they depend on
    what else is in the call; `verify` tells"""
    normalize: Normalize = "none"
    """sigmoid: scores are between 0 and 1, computed by the gateway from raw scores, so that it tells apart what a
    worker's own precision makes equal; a request's `use_activation: false` or `raw_scores: true` wins"""
    instruction: str = ""
    """what the model is to judge by, where a request has no `instruction`; for kinds template and listwise"""
    template_tokens: int = Field(default=160, ge=0)
    """tokens of the chat template around both texts, including an instruction of its own"""
    long_documents: LongDocuments | None = None
    """as the setting of that name, for this model"""
    passage_overlap_tokens: int | None = Field(default=None, ge=0)
    """as the setting of that name, for this model"""
    max_passages_per_document: int | None = Field(default=None, ge=1, le=1000)
    """as the setting of that name, for this model"""
    start_s: float = Field(default=120.0, gt=0)
    """seconds that a first worker takes to serve; the `Retry-After` of a 503 that comes of the model having none"""
    scales_to_zero: bool = False
    """on: the model may be without a worker while nobody asks for it; a replica is ready without one"""
    revision: str = ""
    """any text that names the version of the weights; change it when they change under the same name"""

    @property
    def traits(self) -> Traits:
        """What the operator declared of the model's profile."""
        return Traits(
            kind=self.kind,
            truncation=self.truncation,
            score_scale=self.score_scale,
            multimodal=self.multimodal,
            splits_images=self.split_images,
        )
