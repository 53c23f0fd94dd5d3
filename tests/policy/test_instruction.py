from typing import Any

import pytest

from app.errors import BadInput
from app.policy.instruction import with_instruction
from app.policy.model_profile import ModelProfile

TAKES = ModelProfile(kind="template")
TAKES_NONE = ModelProfile(kind="bi_encoder", takes_instruction=False)


@pytest.mark.parametrize(
    ("sent", "usual", "expected"),
    [
        ({"max_tokens_per_doc": 9}, "", {"max_tokens_per_doc": 9}),
        ({"max_tokens_per_doc": 9}, "ours", {"max_tokens_per_doc": 9, "instruction": "ours"}),
        ({"instruction": "theirs"}, "ours", {"instruction": "theirs"}),
        ({"instruction": ""}, "ours", {"instruction": ""}),
    ],
)
def test_the_requests_instruction_wins_over_the_models(sent: dict[str, Any], usual: str, expected: dict[str, Any]):
    assert with_instruction(sent, usual, model="m", profile=TAKES) == expected


def test_an_instruction_that_would_do_nothing_is_refused_with_what_to_do():
    with pytest.raises(
        BadInput, match=r"does nothing on m, .* is bi_encoder: leave it out, .* chat template$"
    ) as caught:
        with_instruction({"instruction": "theirs"}, "", model="m", profile=TAKES_NONE)
    assert caught.value.param == "instruction"


def test_an_empty_instruction_does_nothing_anywhere_and_is_no_mistake():
    assert with_instruction({"instruction": ""}, "ours", model="m", profile=TAKES_NONE) == {"instruction": ""}
