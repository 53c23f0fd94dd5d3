"""Estimates of a text's tokens, without a tokenizer."""

from collections.abc import Sequence

from app.types import Pairs

# English prose has 4 to 4.5 bytes per token with WordPiece and BPE vocabularies; Chinese has 3 bytes per character
# and about 0.7 tokens, which the same rule meets.
_BYTES_PER_TOKEN = 4
# [CLS], two [SEP], and one word-start marker that SentencePiece adds to each of the two texts.
SPECIAL_TOKENS = 5


def likely_tokens(texts: Sequence[str]) -> list[int]:
    """The likely number of tokens of each text; at least 1. Good for balancing, not for limits."""
    # As in `most_tokens`: calling it for each of 1000 documents takes longer than all of this.
    return [(len(text) if text.isascii() else len(text.encode())) // _BYTES_PER_TOKEN + 1 for text in texts]


def most_tokens(text: str) -> int:
    """An upper bound of a text's tokens: no token of the usual vocabularies stands for less than one UTF-8 byte."""
    # isascii() reads a flag; encoding an ASCII text only to count its bytes would copy it.
    return len(text) if text.isascii() else len(text.encode())


def pair_tokens(pairs: Pairs, max_model_len: int) -> list[int]:
    """The likely tokens of each pair, at most `max_model_len`, past which a worker never reads."""
    queries, documents = likely_tokens(pairs.queries), likely_tokens(pairs.documents)
    if len(queries) == 1:
        beside = queries[0] + SPECIAL_TOKENS
        tokens = [document + beside for document in documents]
    else:
        tokens = [query + document + SPECIAL_TOKENS for query, document in zip(queries, documents, strict=True)]
    return tokens if max(tokens) <= max_model_len else [min(one, max_model_len) for one in tokens]
