"""Documents too long for their model, and what becomes of them."""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from app.errors import BadInput
from app.policy import truncate
from app.policy.model_profile import ModelProfile
from app.policy.passages import LEAST_TOKENS, Cut, PassageLimits, PassagePairs, cut, with_passages
from app.policy.token_estimate import likely_tokens, most_tokens
from app.settings import Settings
from app.types import Fingerprint, LongDocuments, RequestContext, RerankRequest, text_of
from app.workers.token_counter import TokenCounter

# Of a long text, so many parts of so many characters tell how many bytes a token of it takes.
_SAMPLES = 4
_SAMPLE_CHARS = 1000
# No text has more tokens than bytes; few have so many bytes in a token as Thai.
_LEAST_BYTES, _MOST_BYTES = 1.0, 16.0
# The event loop belongs to everybody: after this long, others get their turn.
_SLICE_S = 0.004


class DocumentFitter:
    """Fits long documents to their model, in the way that the request or the settings ask for.

    Args:
        token_counter: Counts the tokens of documents that may be too long.
        settings: What is done where the request doesn't say.
    """

    def __init__(self, token_counter: TokenCounter, settings: Settings) -> None:
        self._token_counter = token_counter
        self._settings = settings

    def treatment(self, request: RerankRequest, fingerprint: Fingerprint, profile: ModelProfile) -> LongDocuments:
        """What is to become of the request's documents that are too long for the model.

        Raises:
            BadInput: the request asks for passages, and the model compares documents with each other.
        """
        usual = self._settings.for_model(fingerprint.model).long_documents or self._settings.long_documents
        asked = request.long_documents
        if asked is None and request.is_cut is not None:
            asked = "error" if not request.is_cut else "truncate" if usual == "error" else usual
        if not profile.is_listwise:
            return asked or usual
        if request.long_documents == "passages":
            message = (
                f"{fingerprint.model:.80} compares documents with each other, so it has no passages: truncate them"
            )
            raise BadInput(message, param="long_documents")
        return "truncate" if (asked or usual) == "passages" else asked or usual

    async def cut(
        self,
        request: RerankRequest,
        fingerprint: Fingerprint,
        fields: Mapping[str, Any],
        lengths: truncate.Lengths,
        context: RequestContext,
    ) -> PassagePairs | None:
        """The request's pairs with passages in the place of documents that don't fit; None when all of them do.

        Args:
            request: Whose documents may be too long.
            fingerprint: Its workers may be asked to count tokens.
            fields: That go to workers with the texts.
            lengths: Of model, template and query.
            context: Until when there is time.
        """
        documents, stats = request.pairs.documents, context.stats
        # The request may have begun on another fingerprint.
        stats.passages = stats.passages_dropped = 0
        room_tokens = truncate.room_tokens(fields, lengths)
        # With fewer tokens than that a document fits, however wrong the estimate; one with images isn't cut.
        likely = enumerate(likely_tokens(documents))
        places = [place for place, tokens in likely if 2 * tokens > room_tokens and isinstance(documents[place], str)]
        if not places:
            return None
        query = max(request.pairs.queries, key=most_tokens)
        samples = [_sample(text_of(documents[place]), room_tokens) for place in places]
        query_tokens, *counts = await self._token_counter.count_each(
            [text_of(query), *samples], fingerprint, context.deadline, request_id=context.request_id
        )
        if query_tokens is not None:
            query_tokens = truncate.with_images(query_tokens, query, fingerprint.max_model_len)
            room_tokens = truncate.room_tokens(fields, lengths._replace(query_tokens=query_tokens))
        if room_tokens < LEAST_TOKENS:
            return None
        limits = self._limits(request, fingerprint, room_tokens)
        densities = [
            min(_MOST_BYTES, max(_LEAST_BYTES, most_tokens(sample) / (count or likely_tokens([sample])[0])))
            for sample, count in zip(samples, counts, strict=True)
        ]
        cuts = await _cuts([text_of(documents[place]) for place in places], limits, densities)
        if not cuts:
            return None
        pairs = with_passages(request.pairs, {places[index]: made for index, made in cuts.items()})
        stats.passages, stats.passages_dropped = pairs.scored, pairs.dropped
        return pairs

    def _limits(self, request: RerankRequest, fingerprint: Fingerprint, room_tokens: int) -> PassageLimits:
        usual, own = self._settings, self._settings.for_model(fingerprint.model)
        overlap = usual.passage_overlap_tokens if own.passage_overlap_tokens is None else own.passage_overlap_tokens
        most = own.max_passages_per_document or usual.max_passages_per_document
        return PassageLimits(room_tokens, overlap, min(most, request.max_passages or most))


async def _cuts(documents: Sequence[str], limits: PassageLimits, densities: Sequence[float]) -> dict[int, Cut]:
    """The passages of the documents that don't fit; `densities` are their bytes per token."""
    cuts: dict[int, Cut] = {}
    turn_ends = perf_counter() + _SLICE_S
    for index, (document, bytes_per_token) in enumerate(zip(documents, densities, strict=True)):
        made = cut(document, limits, bytes_per_token=bytes_per_token)
        if made.dropped or len(made.passages) > 1:
            cuts[index] = made
        if perf_counter() >= turn_ends:
            await asyncio.sleep(0)
            turn_ends = perf_counter() + _SLICE_S
    return cuts


def _sample(text: str, room_tokens: int) -> str:
    """What is counted of a document: all of one that may fit, parts of one that doesn't.

    The same for the same document and room, whatever else is in the request: so are its passages then.
    """
    if len(text) <= _SAMPLES * _SAMPLE_CHARS or likely_tokens([text])[0] <= 2 * room_tokens:
        return text
    step = (len(text) - _SAMPLE_CHARS) // (_SAMPLES - 1)
    return "".join(text[number * step : number * step + _SAMPLE_CHARS] for number in range(_SAMPLES))
