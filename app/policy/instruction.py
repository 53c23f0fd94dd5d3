"""Instructions: what a model is to judge by, beside query and document."""

from collections.abc import Mapping
from typing import Any

from app.errors import BadInput
from app.policy.model_profile import ModelProfile


def with_instruction(sent: Mapping[str, Any], usual: str, *, model: str, profile: ModelProfile) -> Mapping[str, Any]:
    """The scoring fields with the instruction that holds for a request: its own, else the model's usual one.

    Args:
        sent: Scoring fields of the request; an empty instruction is its own, too.
        usual: The operator's for the model; empty when there is none.
        model: Its name, for the error.
        profile: Tells whether instructions may do something.

    Raises:
        BadInput: the model reads no instruction. vLLM would drop it without a word.
    """
    if not profile.takes_instruction:
        if sent.get("instruction"):
            message = (
                f"instruction does nothing on {model:.80}, whose kind is {profile.kind}: leave it out, or declare "
                "kind: template under models if its workers have a chat template"
            )
            raise BadInput(message, param="instruction")
        return sent
    return {"instruction": usual, **sent} if usual else sent
