"""Requests as workers get them: with the fields that their model needs, and passages in the place of long documents."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.policy import truncate
from app.policy.instruction import with_instruction
from app.policy.model_profile import ModelProfile
from app.policy.passages import PassagePairs
from app.policy.score_scale import Scaling, scaling_of
from app.policy.token_estimate import most_tokens
from app.scoring.long_documents import DocumentFitter
from app.settings import Settings
from app.types import Answer, Fingerprint, Pairs, RequestContext, RerankRequest, Side, text_of
from app.workers.profiles import Profiles
from app.workers.token_counter import TokenCounter


class Prepared(NamedTuple):
    """What is sent to workers for a request, and the way back from their scores.

    Args:
        pairs: Those of the request, or passages of its documents.
        fields: What goes to workers beside the texts.
        is_whole: Whether the scores depend on each other, so that all pairs go to a worker in one call, each time anew.
        scaling: Makes the client's scores of the workers'.
        passages: What the pairs are, when documents were cut.
    """

    pairs: Pairs
    fields: Mapping[str, Any]
    is_whole: bool
    scaling: Scaling
    passages: PassagePairs | None

    def by_document(self, answer: Answer) -> Answer:
        """The scores of the request's documents, from those of the pairs."""
        return self.passages.by_document(answer) if self.passages else answer


class Preparation:
    """Prepares requests, each by the profile of its model.

    Args:
        profiles: Of the models.
        token_counter: Counts the tokens of long queries, and of documents that may be too long.
        settings: What is done where a request doesn't say.
    """

    def __init__(self, profiles: Profiles, token_counter: TokenCounter, settings: Settings) -> None:
        self._profiles = profiles
        self._token_counter = token_counter
        self._settings = settings
        self._long_documents = DocumentFitter(token_counter, settings)

    async def prepare(
        self, request: RerankRequest, fingerprint: Fingerprint, context: RequestContext, *, is_degraded: bool
    ) -> Prepared:
        """What is sent to workers of a fingerprint for a request.

        Args:
            request: Freed from its dialect.
            fingerprint: Of the model; its workers may be asked to count tokens.
            context: Until when there is time.
            is_degraded: Whether the model stands in for the one that was asked for.

        Raises:
            BadInput: the model can't do what the request asks for.
        """
        profile, own = self._profiles.of(fingerprint), self._settings.for_model(fingerprint.model)
        if not is_degraded:
            profile.check_images(request.pairs, fingerprint.model)
        scaling = scaling_of(profile.score_scale, own.normalize, request.fields)
        sent = with_instruction(request.fields, own.instruction, model=fingerprint.model, profile=profile)
        treatment = self._long_documents.treatment(request, fingerprint, profile)
        lengths = await self._lengths(request.pairs, sent.get("instruction") or "", profile, fingerprint, context)
        fields = truncate.worker_fields(scaling.fields(sent), lengths, long_documents=treatment)
        passages = None
        if treatment == "passages":
            passages = await self._long_documents.cut(request, fingerprint, fields, lengths, context)
        pairs = passages.pairs if passages else request.pairs
        return Prepared(pairs, fields, profile.keeps_whole(pairs), scaling, passages)

    async def _lengths(
        self, pairs: Pairs, instruction: str, profile: ModelProfile, fingerprint: Fingerprint, context: RequestContext
    ) -> truncate.Lengths:
        query = max(pairs.queries, key=most_tokens)
        query_tokens = await self._most_tokens(query, fingerprint, context)
        template_tokens = self._settings.for_model(fingerprint.model).template_tokens
        if instruction and profile.truncation == "document":
            template_tokens += await self._most_tokens(instruction, fingerprint, context)
        return truncate.Lengths(
            mode=profile.truncation,
            max_model_len=fingerprint.max_model_len,
            template_tokens=template_tokens,
            query_tokens=truncate.with_images(query_tokens, query, fingerprint.max_model_len),
        )

    async def _most_tokens(self, side: Side, fingerprint: Fingerprint, context: RequestContext) -> int:
        """An upper bound of a text's tokens; their number, as workers count it, when the text is long."""
        if not truncate.needs_count(side, fingerprint.max_model_len):
            return most_tokens(side)
        return await self._token_counter.count(
            text_of(side), fingerprint, context.deadline, request_id=context.request_id
        )
