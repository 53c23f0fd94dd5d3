"""Reads as much of PromQL as it takes to see which series and labels an expression asks for."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# A series' labels, each with all values it can have, or none when these are the operator's.
Labels = Mapping[str, tuple[str, ...]]
Series = Mapping[str, Labels]

_METRIC = re.compile(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{(.*?)\})?")
_NO_METRICS = re.compile(r"\b(?:by|on) \(.*?\)|\b(?:and|or|unless)\b|\[.*?\]|, \w+(?=\)$)")


class Selector(NamedTuple):
    """A metric, and what its labels have to be: each with an operator and a value."""

    metric: str
    matchers: list[tuple[str, str, str]]


def problems(expression: str, series: Series) -> Iterator[str]:
    """What `expression` asks for that doesn't exist."""
    for metric, matchers in selectors(expression):
        if metric not in series:
            yield f"no {metric}"
            continue
        for label, operator, value in matchers:
            if label not in series[metric]:
                yield f"no {label} on {metric}"
            elif not _is_possible(operator, value, series[metric][label]):
                yield f"{label} of {metric} is never {value}"
    for labels, part in _grouped(expression):
        for metric, _ in selectors(part):
            yield from (f"no {label} on {metric}" for label in labels if label not in series.get(metric, ()))


def selectors(expression: str) -> Iterator[Selector]:
    """All metrics in `expression`."""
    for metric, matchers in _METRIC.findall(_NO_METRICS.sub("", expression)):
        yield Selector(metric, re.findall(r'(\w+)(=~|!~|!=|=)"(.*?)"', matchers))


def _is_possible(operator: str, value: str, possible: tuple[str, ...]) -> bool:
    """Whether a value may match, unless a dashboard's variable or an operator says what it is."""
    if not possible or "$" in value:
        return True
    alternatives = value.split("|") if "~" in operator else [re.escape(value)]
    return all(any(re.fullmatch(pattern, one) for one in possible) for pattern in alternatives)


def _grouped(expression: str) -> Iterator[tuple[list[str], str]]:
    """Labels that are summed by or matched on, with the part of `expression` whose series have to have them."""
    for summed in re.finditer(r"\bby \((.*?)\) \(", expression):
        yield summed[1].split(", "), _until_closed(expression[summed.end() :])
    for matched in re.finditer(r"\bon \((.*?)\)|\bby \(([^()]*)\)(?! \()|^label_values\(.*, (\w+)\)$", expression):
        yield (matched[1] or matched[2] or matched[3]).split(", "), expression


def _until_closed(text: str) -> str:
    """What stands before the parenthesis that closes one opened before `text`."""
    depth = 1
    for place, sign in enumerate(text):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if not depth:
            return text[:place]
    raise ValueError(text)
