"""Requests to vLLM 0.32.0 and what it answered, as they were recorded."""

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

SCORING_PATHS = {"/rerank", "/v1/rerank", "/v2/rerank", "/v1/rerank/", "/score", "/v1/score"}


@dataclass(frozen=True)
class Recording:
    name: str
    method: str
    path: str
    headers: dict[str, str]
    content: bytes
    status: int
    answer: Any

    @property
    def body(self) -> dict[str, Any]:
        """The request's JSON object."""
        body: dict[str, Any] = json.loads(self.content)
        return body

    @property
    def is_about_scores(self) -> bool:
        return self.path in SCORING_PATHS

    @property
    def queries(self) -> list[str]:
        return self._texts("query", "queries", "text_1", "data_1")

    @property
    def documents(self) -> list[str]:
        return self._texts("documents", "items", "text_2", "data_2")

    def _texts(self, *names: str) -> list[str]:
        sides: str | list[Any] = next(self.body[name] for name in names if name in self.body)
        return [sides] if isinstance(sides, str) else [_text_of(side) for side in sides]


def _text_of(side: Any) -> Any:
    """The text of content that has one part."""
    return side["content"][0]["text"] if isinstance(side, dict) and "content" in side else side


def _read(path: Path) -> Recording:
    recorded = json.loads(path.read_text())
    request, response = recorded["request"], recorded["response"]
    headers = {"content-type": "application/json"} | request["headers"]
    return Recording(
        name=recorded["name"],
        method=request["method"],
        path=request["path"],
        headers=headers,
        content=_content(request),
        status=response["status"],
        answer=response["body"],
    )


def _content(request: dict[str, Any]) -> bytes:
    if request["json"] is not None:
        return json.dumps(request["json"]).encode()
    raw: str = request["raw"] or ""
    # A body that is no UTF-8 was written down as a Python literal.
    return bytes(ast.literal_eval(raw)) if raw.startswith("b'") else raw.encode()


RECORDINGS = {
    recording.name: recording for recording in map(_read, sorted(Path(__file__).with_name("recorded").glob("*.json")))
}


def each(recordings: Iterable[Recording]) -> list[ParameterSet]:
    """The recordings as test parameters under their names."""
    return [pytest.param(recording, id=recording.name) for recording in recordings]
