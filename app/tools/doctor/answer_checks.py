"""The rules for answers that Milvus relies on without checking them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.tools.doctor.findings import Findings
from app.tools.doctor.server_client import Reply
from app.types import LARGEST_SCORE

_BY_GATEWAY = (
    "put the gateway in front; behind it, look at dialect= in the endpoint, and for a proxy that rewrites answers"
)


@dataclass(frozen=True)
class Asked:
    """A call and its answer.

    Args:
        provider: `vllm`, `tei` with its bare list, or `voyageai`.
        documents: Number of documents sent.
    """

    provider: str
    documents: int
    reply: Reply

    @property
    def rows(self) -> list[Any]:
        """The results as they came; empty when there is no such list."""
        rows = answer = self.reply.json
        if self.provider != "tei":
            name = "data" if self.provider == "voyageai" else "results"
            rows = answer.get(name) if isinstance(answer, dict) else None
        return rows if isinstance(rows, list) else []

    @property
    def model(self) -> str:
        """The model that the answer names; "" without one."""
        answer = self.reply.json
        model = answer.get("model") if isinstance(answer, dict) else None
        return model[:100] if isinstance(model, str) else ""

    @property
    def score_name(self) -> str:
        return "score" if self.provider == "tei" else "relevance_score"

    @property
    def scores(self) -> list[Any]:
        """The values of the score field, whatever they are, in the order of the results."""
        return [row.get(self.score_name) if isinstance(row, dict) else None for row in self.rows]

    @property
    def by_document(self) -> list[float] | None:
        """The scores in the order of the documents; None when the answer breaks a rule."""
        if not self.reply.is_ok or _results(self) or _scores(self):
            return None
        return [row[self.score_name] for row in sorted(self.rows, key=lambda row: int(row["index"]))]


class Rule(NamedTuple):
    """A rule for answers.

    Args:
        check: Its id.
        problem: Describes how an answer breaks it; None for an answer that keeps it.
        kept: The finding when all answers keep it.
        effect: The consequence in Milvus of an answer that breaks it.
        is_fatal: True if searches then fail.
    """

    check: str
    problem: Callable[[Asked], str | None]
    kept: str
    effect: str
    is_fatal: bool = True


def judge(answers: Sequence[Asked], found: Findings) -> None:
    """Check all answers with status 200 against the rules, with one finding per rule."""
    for rule in _RULES:
        problem = next((problem for one in answers if (problem := rule.problem(one))), None)
        if problem is None:
            found.green(rule.check, rule.kept)
        elif rule.is_fatal:
            found.red(rule.check, f"{problem}: {rule.effect}", _BY_GATEWAY)
        else:
            found.yellow(rule.check, f"{problem}: {rule.effect}", "serve a model with an activation (use_activation)")


def _results(one: Asked) -> str | None:
    if one.reply.json is None:
        return "the answer is no JSON (NaN and Infinity aren't either)"
    if len(one.rows) != one.documents:
        return f"{len(one.rows)} results for {one.documents} documents"
    indices = [row.get("index") if isinstance(row, dict) else None for row in one.rows]
    if any(type(index) is not int for index in indices) or set(indices) != set(range(one.documents)):
        return f"the indices aren't 0 to {one.documents - 1}, once each"
    return None


def _scores(one: Asked) -> str | None:
    for score in one.scores:
        if type(score) not in {int, float}:
            return f"a {one.score_name} is {'null' if score is None else 'a ' + type(score).__name__}, no number"
        if not -LARGEST_SCORE <= score <= LARGEST_SCORE:
            return f"a {one.score_name} is too large for a float32"
    return None


def _range(one: Asked) -> str | None:
    numbers = [score for score in one.scores if type(score) in {int, float}]
    outside = [score for score in numbers if not 0 <= score <= 1]
    return f"a {one.score_name} is {outside[0]:g}, not between 0 and 1" if outside else None


def _tokens(one: Asked) -> str | None:
    answer = one.reply.json
    if one.provider == "tei" or not isinstance(answer, dict):
        return None
    usage = answer.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else 0
    if type(tokens) is not int and tokens is not None:
        shown = f"{tokens:g}" if type(tokens) is float else f"a {type(tokens).__name__}"
        return f"usage.total_tokens is {shown}, no whole number"
    texts = {name: answer[name] for name in ("id", "model") if not isinstance(answer.get(name, ""), str)}
    return f"{' and '.join(texts)} is no text" if texts else None


def _encoding(one: Asked) -> str | None:
    encoding = one.reply.headers.get("content-encoding", "identity")
    return f"the answer is encoded as {encoding}" if encoding not in {"identity", "gzip"} else None


_RULES = (
    Rule("results", _results, "n results, with the indices 0 to n-1", "scores go to wrong documents, or Milvus dies"),
    Rule("scores", _scores, "every score is a finite float32", "Milvus takes null for 0 and fails over the rest"),
    Rule("range", _range, "every score is between 0 and 1", "grouped searches are ordered wrongly", is_fatal=False),
    Rule("tokens", _tokens, "usage.total_tokens is whole, id and model are texts", "Milvus fails the search"),
    Rule("encoding", _encoding, "answers are plain or gzip, which Milvus unpacks", "Milvus can't read it"),
)
