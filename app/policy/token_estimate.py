"""Estimates of the tokens of texts and images, without a tokenizer."""

from collections.abc import Sequence

from app.types import Content, Pairs, Side, text_of

# English prose has 4 to 4.5 bytes per token with WordPiece and BPE vocabularies; Chinese has 3 bytes per character
# and about 0.7 tokens, which the same rule meets.
_BYTES_PER_TOKEN = 4
# [CLS], two [SEP], and one word-start marker that SentencePiece adds to each of the two texts.
SPECIAL_TOKENS = 5
# An image in a document counts as this many tokens at least, so that a call of `max_batch_tokens` has 8 MiB of them.
_IMAGE_BYTES_PER_TOKEN = 256


def likely_tokens(sides: Sequence[Side]) -> list[int]:
    """The likely number of tokens of each query or document; at least 1. Good for balancing, not for limits."""
    # As in `most_tokens`: calling it for each of 1000 documents takes longer than all of this.
    return [
        (len(side) if side.isascii() else len(side.encode())) // _BYTES_PER_TOKEN + 1
        if isinstance(side, str)
        else likely_tokens([side.text])[0] + image_tokens(side)
        for side in sides
    ]


def image_tokens(side: Side) -> int:
    """The likely number of tokens of a query's or document's images."""
    return 0 if isinstance(side, str) else sum(image.tokens for image in side.images)


def most_tokens(side: Side) -> int:
    """An upper bound of the tokens of a query's or document's text.

    No token of the usual vocabularies stands for less than one UTF-8 byte.
    """
    text = text_of(side)
    # isascii() reads a flag; encoding an ASCII text only to count its bytes would copy it.
    return len(text) if text.isascii() else len(text.encode())


def pair_tokens(pairs: Pairs, max_model_len: int) -> list[int]:
    """The likely tokens of each pair, at most `max_model_len`, past which a worker never reads.

    Images count as many as their bytes say, if that is more: a worker reads all of those.
    """
    queries, documents = likely_tokens(pairs.queries), likely_tokens(pairs.documents)
    if len(queries) == 1:
        beside = queries[0] + SPECIAL_TOKENS
        tokens = [document + beside for document in documents]
    else:
        tokens = [query + document + SPECIAL_TOKENS for query, document in zip(queries, documents, strict=True)]
    if max(tokens) > max_model_len:
        tokens = [min(one, max_model_len) for one in tokens]
    if Content in {*map(type, pairs.documents)}:
        tokens = [max(one, _byte_tokens(side)) for one, side in zip(tokens, pairs.documents, strict=True)]
    return tokens


def _byte_tokens(side: Side) -> int:
    return 0 if isinstance(side, str) else sum(len(image.url) for image in side.images) // _IMAGE_BYTES_PER_TOKEN
