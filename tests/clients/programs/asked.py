"""What a client's program is asked, and how it answers: one JSON document in, one out.

Each public function of a program's module is a client, used as its users use it. It runs in an environment that has the
client and nothing of the gateway.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Ranking = Iterable[tuple[int, float]]


@dataclass(frozen=True)
class Asked:
    """One ranking that is wanted.

    Args:
        url: The base URL, or the whole one where the client wants that.
        key: The API key.
        model: The model's name.
        query: What the texts are ranked by.
        texts: The documents, each of them different.
    """

    url: str
    key: str
    model: str
    query: str
    texts: list[str]

    def ranked(self, found: Iterable[tuple[str, float]]) -> Ranking:
        """The ranking of a client that gives texts instead of their indices."""
        return [(self.texts.index(text), score) for text, score in found]


def answer(programs: Mapping[str, Any]) -> None:
    """Do what standard input asks of one of the programs, and print a ranking or an error's text for each."""
    order = json.load(sys.stdin)
    # Whatever clients print goes where their logs go.
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    program: Callable[[Asked], Ranking] = programs[order["program"]]
    with answers:
        json.dump([_one(program, Asked(**asked)) for asked in order["asked"]], answers)


def _one(program: Callable[[Asked], Ranking], asked: Asked) -> dict[str, Any]:
    try:
        return {"ranking": list(program(asked))}
    except Exception as exc:  # noqa: BLE001 - whatever the user of that client would see
        causes = [exc]
        while cause := causes[-1].__cause__ or causes[-1].__context__:
            causes.append(cause)
        return {"error": " <- ".join(f"{type(one).__name__}: {one}" for one in causes)}
