"""The verdict of a model check: what the scores of its pairs say about the model, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import log
from typing import Literal, NamedTuple

from app.policy.model_profile import Traits, profile_from
from app.policy.truncate import Truncation
from app.types import Kind, ScoreScale

Reason = Literal["order", "constant", "not_finite", "truncation"]

# Differences that count: a tenth on the scale of logits where scores are probabilities, which tells 0.001 from 0.0011
# and 0.5 from 0.525; else a fiftieth of the largest score. Precision alone moves scores by less, but for near-ties.
_STEP_LOGIT = 0.1
_STEP = 0.02
# A probability of 0 or 1 is one that was rounded.
_NEAREST_TO_0 = 1e-7
# Of a document's score in other company: bf16 moves scores by up to 0.05 in another batch.
_NEIGHBOURS = 0.05
# Two texts that begin alike and are cut at about the same place score alike, within so many steps.
_CUT_ALIKE = 10
# A cosine of a text with itself, and a sum of maximal similarities, one for each token.
_SELF = 0.001
_SELF_SUM = 0.02


class Ordered(NamedTuple):
    """The score of a query's right text, and the highest of its wrong ones."""

    right: float
    wrong: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The scores that a model gave in a check.

    Args:
        english: By query; empty only when scores aren't finite.
        others: By language.
        elsewhere: The first English right text's score beside other texts.
        itself: The score of the first English query as a document.
        cut_pair: Of long texts, cut at the end of the pair; None when that was refused.
        cut_document: Of the same texts, cut as documents by about as much; None when that was refused.
        is_finite: Whether scores were finite numbers.
    """

    english: Sequence[Ordered] = ()
    others: Mapping[str, Ordered] = field(default_factory=dict)
    elsewhere: float | None = None
    itself: float | None = None
    cut_pair: Ordered | None = None
    cut_document: Ordered | None = None
    is_finite: bool = True

    @property
    def kept(self) -> int:
        """English queries whose right text came first, by a step at least."""
        return sum(self.keeps(one) for one in self.english)

    def keeps(self, ordered: Ordered) -> bool:
        """True when the right text comes first, by a step at least."""
        return self.steps(ordered.right, ordered.wrong) > 1

    def steps(self, one: float, other: float) -> float:
        """The difference of two scores in steps, each the smallest that counts."""
        if self.are_probabilities:
            return (_logit(one) - _logit(other)) / _STEP_LOGIT
        return (one - other) / (_STEP * self.largest)

    @property
    def are_probabilities(self) -> bool:
        """True when all scores lie between 0 and 1."""
        return all(0 <= score <= 1 for score in self._scores())

    @property
    def largest(self) -> float:
        """The largest score there is, without its sign; at least 1."""
        return max(1.0, *map(abs, self._scores()))

    def _scores(self) -> Sequence[float]:
        cuts = [cut for cut in (self.cut_pair, self.cut_document) if cut]
        single = [score for score in (self.elsewhere, self.itself) if score is not None]
        return [*chain(*self.english, *self.others.values(), *cuts), *single, 0.0]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check found out about a model.

    Args:
        learned: As far as the scores tell.
        suspicion: Why the model seems to be served wrongly; None when it doesn't.
        kept, asked: English queries whose right text came first, and all.
        unsure_of: What the scores don't tell: languages, or traits by name.
    """

    learned: Traits = field(default_factory=Traits)
    suspicion: Reason | None = None
    kept: int = 0
    asked: int = 0
    unsure_of: Sequence[str] = ()

    @property
    def says_nothing(self) -> bool:
        """True when the model has no room for the check's sentences, as one of images may have."""
        return not self.asked and self.suspicion is None


def judge(measured: Measured, declared: Traits) -> CheckResult:
    """The result from a model's scores.

    Args:
        measured: All that the check has scored.
        declared: What the operator says of the model, which the scores may contradict.
    """
    if not measured.is_finite:
        return CheckResult(suspicion="not_finite")
    kept, asked = measured.kept, len(measured.english)
    if suspicion := _suspicion_of_order(measured):
        return CheckResult(suspicion=suspicion, kept=kept, asked=asked)
    truncation = _truncation(measured)
    kind = _kind(measured, truncation)
    learned = Traits(kind=kind, truncation=truncation, score_scale=_score_scale(measured, kind))
    unsure_of = [language for language, ordered in measured.others.items() if not measured.keeps(ordered)]
    unsure_of += ["english"] if kept < asked else []
    unsure_of += ["truncation"] if truncation is None else []
    used = profile_from(declared, Traits()).truncation if declared.kind or declared.truncation else truncation
    contradicts = truncation is not None and used != truncation and not _cut_keeps(measured, used)
    return CheckResult(
        learned=learned,
        suspicion="truncation" if contradicts else None,
        kept=kept,
        asked=asked,
        unsure_of=tuple(unsure_of),
    )


def is_doubtful(measured: Measured) -> bool:
    """True when not all English queries so far had their right text first: more of them have to tell."""
    return measured.kept < len(measured.english)


def _suspicion_of_order(measured: Measured) -> Reason | None:
    scores = list(chain(*measured.english))
    if abs(measured.steps(max(scores), min(scores))) <= 1:
        return "constant"
    return "order" if 2 * measured.kept <= len(measured.english) else None


def _truncation(measured: Measured) -> Truncation | None:
    """Which way of cutting leaves long texts in order; None when neither does, or it wasn't measured.

    What is cut at the end of the pair scores as what is cut as a document, unless the model reads something behind the
    document: then its scores are arbitrary, and may be in order by chance.
    """
    pair, document = measured.cut_pair, measured.cut_document
    pair_keeps, document_keeps = _cut_keeps(measured, "pair"), _cut_keeps(measured, "document")
    if pair and document and pair_keeps and document_keeps:
        moved = max(abs(measured.steps(*both)) for both in zip(pair, document, strict=True))
        is_as_good = 2 * measured.steps(*pair) >= measured.steps(*document)
        return "pair" if moved <= _CUT_ALIKE or is_as_good else "document"
    if pair_keeps:
        return "pair"
    return "document" if document_keeps else None


def _cut_keeps(measured: Measured, truncation: Truncation | None) -> bool:
    cut = measured.cut_document if truncation == "document" else measured.cut_pair
    return cut is not None and measured.keeps(cut)


def _kind(measured: Measured, truncation: Truncation | None) -> Kind | None:
    first = measured.english[0].right
    if measured.elsewhere is not None and abs(measured.elsewhere - first) > _NEIGHBOURS * measured.largest:
        return "listwise"
    if measured.itself is not None:
        if _are_cosines(measured, measured.itself):
            return "bi_encoder"
        if _are_sums(measured, measured.itself):
            return "late_interaction"
    if truncation is None:
        return None
    return "template" if truncation == "document" else "cross_encoder"


def _are_cosines(measured: Measured, itself: float) -> bool:
    """True when a text scores 1 with itself, and others aren't near 0 or are below it, as no probability is."""
    scores = list(chain(*measured.english))
    if abs(itself - 1) > _SELF or max(scores) > itself:
        return False
    return min(scores) < 0 or _STEP_LOGIT < min(scores) <= max(scores) < 1 - _SELF


def _are_sums(measured: Measured, itself: float) -> bool:
    """True when a text's score with itself is a whole number, that of its tokens, and nothing is above or below 0."""
    scores = list(chain(*measured.english))
    is_whole = round(itself) > 1 and abs(itself - round(itself)) <= _SELF_SUM
    return is_whole and min(scores) >= 0 and max(measured.english[0]) <= itself


def _score_scale(measured: Measured, kind: Kind | None) -> ScoreScale:
    if kind == "late_interaction":
        return "maxsim"
    # Those that compare documents with each other compare what they make of them, by the cosine.
    if kind == "bi_encoder" or (kind == "listwise" and measured.largest <= 1):
        return "cosine"
    return "probability" if measured.are_probabilities else "logit"


def _logit(score: float) -> float:
    bounded = min(max(score, _NEAREST_TO_0), 1 - _NEAREST_TO_0)
    return log(bounded / (1 - bounded))
