import re
from itertools import chain

from app.policy.check_pairs import ENGLISH, FILLER, MORE_ENGLISH, OTHER_LANGUAGES, CheckPair

ALL = [*ENGLISH, *MORE_ENGLISH, *OTHER_LANGUAGES.values()]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def test_a_right_text_holds_all_words_of_its_query_set_apart_by_spaces():
    for pair in ALL:
        assert {*pair.query.lower().split()} <= {*pair.right.lower().split()}, pair.query


def test_no_wrong_text_holds_a_word_of_a_query():
    for query in ALL:
        others = [pair.wrong for pair in MORE_ENGLISH] if query in MORE_ENGLISH else [query.wrong]
        assert words(query.query).isdisjoint(chain(*map(words, [*others, FILLER]))), query.query


def test_neither_the_longer_text_nor_the_shorter_one_is_the_right_one():
    def longer_is_right(pair: CheckPair) -> bool:
        return len(pair.right) > len(pair.wrong)

    for pairs in (ENGLISH, MORE_ENGLISH):
        assert sum(map(longer_is_right, pairs)) == len(pairs) / 2


def test_there_are_five_languages_beside_english():
    assert len(OTHER_LANGUAGES) == 5
