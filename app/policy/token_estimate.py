"""Estimates of a text's tokens, without a tokenizer."""

from collections.abc import Sequence

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
