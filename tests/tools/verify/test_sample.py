import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from app.tools.verify.sample import SampleError, built_in, read
from app.types import text_of
from tests.pictures import content_of, png


def test_the_built_in_sample_is_always_the_same_and_of_a_size_that_says_something():
    sample = built_in()
    assert sample == built_in()
    assert [len(pairs) for pairs in sample] == [128] * 4
    lengths = [len(text.split()) for pairs in sample for text in map(text_of, pairs.documents)]
    assert min(lengths) < 12
    assert max(lengths) > 75


def test_the_built_in_sample_is_the_same_on_every_release_of_python():
    texts = "\n".join(text for pairs in built_in() for text in map(text_of, pairs.documents))
    assert blake2b(texts.encode(), digest_size=4).hexdigest() == "fdd83185"


def test_the_built_in_sample_has_near_ties_but_hardly_equals():
    for pairs in built_in():
        assert len(set(pairs.documents)) > 115
        words = [" ".join(sorted(text_of(document).split())) for document in pairs.documents]
        assert len(set(words)) < len(set(pairs.documents)) - 10


def test_a_file_gives_a_query_and_its_documents_per_line(tmp_path: Path):
    file = tmp_path / "sample.jsonl"
    file.write_text('{"query": "q", "documents": ["a", "b"]}\n\n{"query": "é", "documents": [""], "id": 7}\n')
    first, second = read(file)
    assert (first.queries, first.documents) == (["q"], ["a", "b"])
    assert (second.queries, second.documents) == (["é"], [""])


def test_a_file_may_hold_images(tmp_path: Path):
    file = tmp_path / "sample.jsonl"
    file.write_text(json.dumps({"query": {"text": "q"}, "documents": [content_of("a", png())]}))
    (pairs,) = read(file)
    assert pairs.queries == ["q"]
    assert pairs.hold_images()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is not JSON from character"),
        ("[]", "is no JSON object"),
        ({"documents": ["hush"]}, "query is null: send a string"),
        ({"query": "hush"}, "documents must be a list of one text or more"),
        ({"query": "hush", "documents": []}, "documents must be a list of one text or more"),
        ({"query": "hush", "documents": "hush"}, "documents must be a list of one text or more"),
        ({"query": "hush", "documents": ["hush", 3]}, "documents[1] is a number: send a string"),
    ],
)
def test_a_line_of_another_form_is_named_by_its_number_without_its_text(tmp_path: Path, line: Any, problem: str):
    file = tmp_path / "sample.jsonl"
    written = line if isinstance(line, str) else json.dumps(line)
    file.write_text(f'{{"query": "q", "documents": ["a"]}}\n\n{written}\n')
    with pytest.raises(SampleError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}, line 3: ")
    assert problem in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_file_that_is_empty_or_not_there_is_named(tmp_path: Path):
    file = tmp_path / "sample.jsonl"
    with pytest.raises(SampleError, match="No such file"):
        read(file)
    file.write_text("\n")
    with pytest.raises(SampleError, match="is empty"):
        read(file)
