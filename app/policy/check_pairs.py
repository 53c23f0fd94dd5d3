"""The pairs of the model check: a query, a text that answers it, and one that has nothing to do with it.

Nobody disputes which comes first. The right text holds all of the query's words, set apart by spaces as even small
models know them, the wrong one none of them. Neither kind is always the longer one, or always begins alike: a model
that goes by such things gets half of them wrong.
"""

from collections.abc import Sequence
from typing import NamedTuple


class CheckPair(NamedTuple):
    """One query with its right and its wrong text."""

    query: str
    right: str
    wrong: str


ENGLISH: Sequence[CheckPair] = (
    CheckPair(
        "boiling point of water",
        "The boiling point of water is one hundred degrees at sea level.",
        "Her brother plays violin.",
    ),
    CheckPair(
        "capital city of France",
        "Paris is the capital city of France today.",
        "Most cats sleep during long afternoons, and they hunt mice when everybody else has gone to bed.",
    ),
    CheckPair(
        "how to bake bread at home",
        "Here is how to bake bread at home with flour and yeast.",
        "Shares fell again yesterday because investors feared higher taxes, said two banks this morning.",
    ),
    CheckPair(
        "speed of light in space",
        "Nothing is faster: the speed of light in empty space never changes, whoever measures it.",
        "My neighbour painted his kitchen yellow.",
    ),
)
# For a model that didn't put all of the above in order: each query's right text has two wrong ones to beat, so that a
# model which goes by nothing seldom does.
MORE_ENGLISH: Sequence[CheckPair] = (
    CheckPair(
        "largest animal on land",
        "Today the elephant is the largest animal on land and weighs six tons.",
        "Our train leaves after seven.",
    ),
    CheckPair(
        "open a text file",
        "Use this to open a text file here.",
        "Three children were swimming across that lake while their parents slept under some trees nearby.",
    ),
    CheckPair(
        "best time to plant potatoes",
        "Spring is the best time to plant potatoes outside, once frost has gone for good.",
        "Lawyers argued about old contracts.",
    ),
    CheckPair(
        "who wrote the play Hamlet",
        "Shakespeare is who wrote the play Hamlet then.",
        "Engineers repaired two bridges near our village after heavy rain had damaged all of their pillars.",
    ),
)
# A model needn't know these: what it can't tell apart here says nothing against it.
OTHER_LANGUAGES: dict[str, CheckPair] = {
    "german": CheckPair(
        "Hauptstadt von Italien",
        "Rom ist die Hauptstadt von Italien und sehr alt.",
        "Gestern hat es lange geregnet.",
    ),
    "spanish": CheckPair(
        "temperatura del agua caliente",
        "La temperatura del agua caliente es alta.",
        "Mi hermano toca un instrumento viejo todas las tardes.",
    ),
    "russian": CheckPair(
        "самая длинная река мира",
        "Нил это самая длинная река мира по мнению многих.",
        "Вчера мы купили новый стол.",
    ),
    "chinese": CheckPair(
        "法国 的 首都",
        "巴黎 是 法国 的 首都 城市",
        "昨天 我们 一起 去 公园 看 花",
    ),
    "arabic": CheckPair(
        "عاصمة جمهورية مصر",
        "القاهرة هي عاصمة جمهورية مصر منذ زمن طويل",
        "اشترى أخي سيارة جديدة أمس",
    ),
}
# What follows the point of a long text: it has a word of no English query above.
FILLER = "Many guests came by bus, ate soup, told some stories and went back late that evening. "
