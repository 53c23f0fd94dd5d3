"""Pairs are known by digests: equal ones by equal digests, all others by different ones."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.policy.pair_digest import DIGEST_BYTES, pair_digests
from app.types import Content, Fingerprint, Image, Pairs, Side

FINGERPRINT = Fingerprint("m", "/models/m", 512, "1", "")
# Surrogates included, and few enough letters for texts to share beginnings and ends.
TEXT = st.text(st.sampled_from("ab:0\x00\ud800é"), max_size=4)
FIELDS = st.dictionaries(st.sampled_from(["truncate_prompt_tokens", "instruction", "x"]), st.integers(0, 3) | st.none())
FINGERPRINTS = st.builds(Fingerprint, TEXT, TEXT, st.integers(1, 20), TEXT, TEXT, TEXT)
KNOWN_BY = st.fixed_dictionaries(
    {
        "tenant": TEXT,
        "generation": st.integers(0, 20),
        "fingerprint": FINGERPRINTS,
        "fields": FIELDS,
        "query": TEXT,
        "document": TEXT,
    }
)


def _digests(pairs: Pairs, **more) -> list[bytes]:
    known_by: dict[str, Any] = {
        "secret": b"s",
        "tenant": "t",
        "generation": 0,
        "fingerprint": FINGERPRINT,
        "fields": {},
    } | more
    return pair_digests(pairs, **known_by)


def _digest(query: str = "q", document: str = "d", **more) -> bytes:
    return _digests(Pairs([query], [document]), **more)[0]


@given(KNOWN_BY, KNOWN_BY)
@example(*({"query": query, "document": document} for query, document in (("ab", "c"), ("a", "bc"))))
@example({"tenant": "a", "generation": 11}, {"tenant": "a1", "generation": 1})
@example({"tenant": "ab", "query": ""}, {"tenant": "a", "query": "b"})
@example({"query": "", "document": "q"}, {"query": "q", "document": ""})
@example({"query": "q" * 256}, {"query": "q"})
def test_pairs_have_equal_digests_only_when_all_of_them_is_equal(one, other):
    assert (_digest(**one) == _digest(**other)) == (one == other)


@given(
    KNOWN_BY, st.sampled_from(sorted(["tenant", "generation", "fingerprint", "fields", "query", "document"])), st.data()
)
def test_one_part_that_differs_is_enough(known_by, part, data):
    strategies = {"generation": st.integers(0, 20), "fingerprint": FINGERPRINTS, "fields": FIELDS}
    other = data.draw(strategies.get(part, TEXT).filter(lambda value: value != known_by[part]))
    assert _digest(**known_by) != _digest(**known_by | {part: other})


@pytest.mark.parametrize("place", range(len(FINGERPRINT)), ids=FINGERPRINT._fields)
def test_each_part_of_the_fingerprint_counts(place: int):
    parts: list[str | int] = list(FINGERPRINT)
    parts[place] = 7 if isinstance(parts[place], int) else "other"
    assert _digest(fingerprint=Fingerprint(*parts)) != _digest()  # type: ignore[arg-type]  # mixed on purpose


@given(st.lists(TEXT, min_size=1, max_size=5), TEXT)
def test_a_query_for_each_document_gives_the_digests_of_one_query_for_all(documents, query):
    assert _digests(Pairs([query], documents)) == _digests(Pairs([query] * len(documents), documents))


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_a_pair_has_the_same_digest_whatever_it_is_asked_with(pairs):
    together = _digests(Pairs([query for query, _ in pairs], [document for _, document in pairs]))
    assert together == [_digest(query, document) for query, document in pairs]


@given(st.permutations([("a", 1), ("b", {"y": 1, "x": [1, 2]}), ("c", None)]))
def test_the_order_of_fields_is_irrelevant(items):
    assert _digest(fields=dict(items)) == _digest(fields={"a": 1, "b": {"x": [1, 2], "y": 1}, "c": None})
    assert _digest(fields=dict(items)) != _digest(fields={"a": 1, "b": {"x": [2, 1], "y": 1}, "c": None})


@pytest.mark.parametrize("name", ["priority", "request_id", "user", "top_n", "return_documents"])
def test_fields_that_change_no_score_are_left_out(name: str):
    assert _digest(fields={name: 5, "instruction": "i"}) == _digest(fields={"instruction": "i"})


def test_another_secret_gives_other_digests():
    secrets = [b"", b"s", b"t", b"s" * 64]
    assert len({_digest(secret=secret) for secret in secrets}) == len(secrets)


def test_a_lone_surrogate_is_told_apart_from_every_other_text():
    texts = ["\ud800", "\udc00", "\ud800\udc00", "\U00010000", "?", "\ufffd", ""]
    assert len({_digest(document=text) for text in texts} | {_digest(query=text) for text in texts}) == 2 * len(texts)


def test_digests_have_their_size_and_leave_the_fields_alone():
    fields = {"priority": 1, "instruction": "i"}
    assert [len(digest) for digest in _digests(Pairs(["q"], ["a", "b"]), fields=fields)] == [DIGEST_BYTES] * 2
    assert fields == {"priority": 1, "instruction": "i"}


def image(*, digest: bytes = b"1" * 32, url: str = "data:image/png;base64,AAAA") -> Image:
    return Image(url, digest, 1)


def test_content_is_known_by_its_texts_and_images_in_order():
    sides: list[Side] = [
        "a",
        "",
        Content((image(),)),
        Content((image(digest=b"2" * 32),)),
        Content((image(), image())),
        Content(("a", image())),
        Content((image(), "a")),
        Content(("a", "b", image())),
        Content(("ab", image())),
        Content(("\ud800", image())),
        Content(("a\nb", image())),
    ]
    by_document = _digests(Pairs(["q"], sides))
    by_query = _digests(Pairs(sides, ["a"] * len(sides)))
    assert len({*by_document, *by_query}) == 2 * len(sides)


def test_the_address_of_an_images_bytes_says_nothing():
    other = image(url="data:image/png;base64,BBBB")
    assert _digests(Pairs(["q"], [Content((image(),))])) == _digests(Pairs(["q"], [Content((other,))]))


def test_no_text_is_known_as_content():
    content = Content(("a", image()))
    # All that content is hashed as, but for its first byte.
    text = "t" + chr(1) + chr(0) * 7 + "a" + "i" + chr(32) + chr(0) * 7 + "1" * 32
    assert _digests(Pairs(["q"], [content])) != _digests(Pairs(["q"], [text]))
    assert _digests(Pairs([content], ["d"])) != _digests(Pairs([text], ["d"]))
