"""Truncation: the fields that tell a worker to cut texts too long for its model.

Checked against vLLM 0.32.0, `vllm/entrypoints/pooling/scoring/io_processor.py` (`get_score_prompt`):

- A cross-encoder's pair is tokenized together. `truncate_prompt_tokens` alone cuts "longest first": the document, until
  it is as short as the query, then both. With `max_tokens_per_doc` beside it vLLM switches to "only second": the query
  stays whole whatever its length.
- A model behind a chat template reads its score off the last token. `truncate_prompt_tokens` would cut that off, so
  its documents are cut to what query and template leave.
- A query that fills the model by itself leaves nothing to compare: that is an error, never a cut.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from app.errors import BadInput
from app.policy.token_estimate import SPECIAL_TOKENS, image_tokens, most_tokens
from app.types import LongDocuments, Side

Truncation = Literal["pair", "document"]


class Lengths(NamedTuple):
    """The lengths that say how much of a document a model reads, in tokens.

    Args:
        mode: `pair` for cross-encoders, `document` for models behind a chat template.
        max_model_len: Of query, document and template together at most.
        template_tokens: Of the chat template around both texts.
        query_tokens: Of the longest query, exact when `needs_count` says so.
    """

    mode: Truncation
    max_model_len: int
    template_tokens: int
    query_tokens: int

    def overhead(self, fields: Mapping[str, Any]) -> int:
        """The tokens beside a document's, when the worker cuts the query as `fields` say."""
        query_tokens: int = min(self.query_tokens, fields.get("max_tokens_per_query", self.query_tokens))
        return query_tokens + (SPECIAL_TOKENS if self.mode == "pair" else self.template_tokens)


def needs_count(query: Side, max_model_len: int) -> bool:
    """True when the query's text may be so long that its exact number of tokens matters."""
    return most_tokens(query) + SPECIAL_TOKENS > max_model_len // 2


def with_images(text_tokens: int, query: Side, max_model_len: int) -> int:
    """The tokens of a query with its images.

    These are at most half of what its text leaves: only workers know how many tokens their model has for an image, so
    the estimate must refuse no query.
    """
    return text_tokens + min(image_tokens(query), max(0, max_model_len - text_tokens) // 2)


def worker_fields(sent: Mapping[str, Any], lengths: Lengths, *, long_documents: LongDocuments) -> dict[str, Any]:
    """The scoring fields as a worker gets them.

    Args:
        sent: Scoring fields as the client sent them, each of the right type.
        lengths: Of model, template and query.
        long_documents: `error` lets the worker refuse; with `passages`, what an estimate had too long is truncated too.

    Raises:
        BadInput: a field is out of the model's range, or the query leaves no room for a document.
    """
    mode, max_model_len = lengths.mode, lengths.max_model_len
    fields = {name: value for name, value in sent.items() if not _is_idle_limit(name, value, max_model_len)}
    asked = fields.get("truncate_prompt_tokens")
    if asked is not None and asked > max_model_len:
        message = (
            f"truncate_prompt_tokens is {asked}, but the model takes {max_model_len} tokens: send at most that, or -1"
        )
        raise BadInput(message, param="truncate_prompt_tokens")
    if mode == "pair" and asked is not None and asked != -1:
        # The client wants the pair cut at a length of its own; vLLM's way of doing so is what it asked for.
        return fields
    overhead = lengths.overhead(fields)
    if overhead >= max_model_len:
        message = f"query has {lengths.query_tokens} tokens and the model takes {max_model_len}: shorten the query"
        raise BadInput(message, param="query")
    if long_documents == "error" and asked is None:
        return fields
    if mode == "document":
        return _cut_document(fields, limit=max_model_len if asked in {None, -1} else asked, overhead=overhead)
    fields["truncate_prompt_tokens"] = -1
    if 2 * overhead > max_model_len:
        # The query is the longer half: only "only second" leaves it whole.
        fields.setdefault("max_tokens_per_doc", max_model_len - 1)
    return fields


def room_tokens(fields: Mapping[str, Any], lengths: Lengths) -> int:
    """The tokens that a document may have to be read whole beside the query; below 1 when the query leaves none.

    Args:
        fields: As `worker_fields` made them.
        lengths: Of model, template and query.
    """
    asked = fields.get("truncate_prompt_tokens", -1)
    room: int = (lengths.max_model_len if asked == -1 else asked) - lengths.overhead(fields)
    return min(room, int(fields.get("max_tokens_per_doc", room)))


def _cut_document(fields: dict[str, Any], *, limit: int, overhead: int) -> dict[str, Any]:
    if fields.get("truncation_side") == "left":
        message = "truncation_side left is not possible on this model: its documents are cut at their end"
        raise BadInput(message, param="truncation_side")
    room = limit - overhead
    if room < 1:
        message = f"truncate_prompt_tokens is {limit}, but query and template already have {overhead}: raise it"
        raise BadInput(message, param="truncate_prompt_tokens")
    kept = {name: value for name, value in fields.items() if name not in {"truncate_prompt_tokens", "truncation_side"}}
    return kept | {"max_tokens_per_doc": min(room, fields.get("max_tokens_per_doc", room))}


def _is_idle_limit(name: str, value: Any, max_model_len: int) -> bool:
    """True when `value` limits nothing. vLLM refuses such a limit with a 400; Cohere's clients send 4096 by default."""
    return name in {"max_tokens_per_doc", "max_tokens_per_query"} and (value == 0 or value >= max_model_len)
