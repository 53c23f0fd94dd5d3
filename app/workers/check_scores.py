"""The scores of the model check's pairs, asked for over a worker's link: of at most 24 pairs in all."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from app.errors import ContentRejected, NotFinite
from app.policy.check_pairs import ENGLISH, FILLER, MORE_ENGLISH, OTHER_LANGUAGES, CheckPair
from app.policy.check_verdict import CheckResult, Measured, Ordered, is_doubtful, judge
from app.policy.token_estimate import SPECIAL_TOKENS, likely_tokens
from app.settings import ModelSettings
from app.types import Fingerprint, Pairs

# Tokens to which long texts are cut: enough for their point and much that follows, and cheap for any model.
_CUT_TOKENS = 192
_FEWEST_TOKENS = 16
_WRONG_TEXTS = 2

# The scores of some pairs, which share a query and what goes to the worker beside them.
Score = Callable[[Pairs, Mapping[str, int]], Awaitable[Sequence[float]]]


async def check(
    score: Score, fingerprint: Fingerprint, own: ModelSettings, *, is_thorough: bool = False
) -> CheckResult:
    """What a model's scores of the check's pairs say about it; nothing when it refuses the English ones as too long.

    Args:
        score: Makes the calls.
        fingerprint: Of the model.
        own: What its operator says of it.
        is_thorough: Whether all pairs are asked for, whatever the first ones say: 36 instead of 24 at most.

    Raises:
        WorkerError, TimeoutError: a call failed or took too long.
    """
    try:
        measured = await _measure(score, fingerprint.max_model_len, own.template_tokens, is_thorough=is_thorough)
    except ContentRejected:
        return CheckResult(unsure_of=("english",))
    return judge(measured, own.traits)


async def _measure(score: Score, max_model_len: int, template_tokens: int, *, is_thorough: bool) -> Measured:
    """The scores of the check's pairs: English ones; if these are in order also all others, else more English ones."""
    try:
        english = [await _ordered(score, pair, [pair.wrong]) for pair in ENGLISH]
        # The same text beside another one, and the query as a text: they tell the kind of a doubtful model too.
        itself, elsewhere = await score(Pairs([ENGLISH[0].query], [ENGLISH[0].query, ENGLISH[0].right]), {})
        first = measured = Measured(english=english, itself=itself, elsewhere=elsewhere)
        if is_thorough or is_doubtful(first):
            more = [await _ordered(score, pair, wrong) for pair, wrong in _with_wrong_texts(MORE_ENGLISH)]
            measured = replace(first, english=[*first.english, *more])
        if is_doubtful(first) and not is_thorough:
            return measured
        return await _measure_others(score, measured, max_model_len, template_tokens)
    except NotFinite:
        return Measured(is_finite=False)


async def _measure_others(score: Score, measured: Measured, max_model_len: int, template_tokens: int) -> Measured:
    """What was measured, with all that matters only for a model that puts English texts in order."""
    first = ENGLISH[0]
    others = {language: await _tie_if_refused(score, pair) for language, pair in OTHER_LANGUAGES.items()}
    room = min(_CUT_TOKENS, max_model_len // 2, max_model_len - template_tokens - _query_tokens(first))
    by_pair, by_document = None, None
    if room >= _FEWEST_TOKENS:
        # The same part of the document is left by both, as nearly as its tokens can be told without counting them.
        limit = room + _query_tokens(first)
        by_pair = await _cut(score, first, room, {"truncate_prompt_tokens": limit})
        by_document = await _cut(score, first, room, {"max_tokens_per_doc": room})
    return replace(measured, others=others, cut_pair=by_pair, cut_document=by_document)


async def _ordered(
    score: Score, pair: CheckPair, wrong: Sequence[str], fields: Mapping[str, int] | None = None
) -> Ordered:
    right, *others = await score(Pairs([pair.query], [pair.right, *wrong]), fields or {})
    return Ordered(right, max(others))


async def _tie_if_refused(score: Score, pair: CheckPair) -> Ordered:
    """The scores of a pair in another language, of which a small model may have more tokens than it takes."""
    try:
        return await _ordered(score, pair, [pair.wrong])
    except ContentRejected:
        return Ordered(0.0, 0.0)


async def _cut(score: Score, pair: CheckPair, tokens: int, fields: Mapping[str, int]) -> Ordered | None:
    """The scores of texts that begin as the pair's and go on for longer than `tokens`; None when they are refused."""
    # A word has a token at least.
    more = " " + FILLER * (tokens // len(FILLER.split()) + 1)
    try:
        return await _ordered(score, CheckPair(pair.query, pair.right + more, ""), [pair.wrong + more], fields)
    except ContentRejected:
        return None


def _with_wrong_texts(pairs: Sequence[CheckPair]) -> Iterator[tuple[CheckPair, Sequence[str]]]:
    """Each pair with its own wrong text and those of others."""
    for place, pair in enumerate(pairs):
        yield pair, [pairs[(place + step) % len(pairs)].wrong for step in range(_WRONG_TEXTS)]


def _query_tokens(pair: CheckPair) -> int:
    return SPECIAL_TOKENS + likely_tokens([pair.query])[0]
