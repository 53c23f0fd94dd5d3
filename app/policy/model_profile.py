"""The profile of a model: what kind it is, which decides how it may be asked and what its scores mean."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import BadInput
from app.policy.truncate import Truncation
from app.types import Kind, Pairs, ScoreScale

# Only their prompts have a place for an instruction; vLLM drops it on others without a word.
TAKE_INSTRUCTIONS: frozenset[Kind] = frozenset({"template", "listwise"})
# What follows from a model's kind, as far as it isn't known otherwise. Both of these read on behind the documents: a
# listwise model its query, so that what is cut at its prompt's end is scored against the last document.
_TRUNCATION: Mapping[Kind, Truncation] = {"template": "document", "listwise": "document"}
_SCORE_SCALE: Mapping[Kind, ScoreScale] = {"bi_encoder": "cosine", "listwise": "cosine", "late_interaction": "maxsim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What somebody knows of a model; None is what they don't know."""

    kind: Kind | None = None
    truncation: Truncation | None = None
    score_scale: ScoreScale | None = None
    multimodal: bool | None = None
    splits_images: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """How a model is treated.

    Args:
        kind: How it compares a query with documents.
        truncation: What is cut when a pair is too long for it.
        score_scale: What its scores are, unless the request changes them.
        multimodal: Whether documents and queries may have images.
        splits_images: Whether pairs with images may be split; their scores depend on each other where not.
        takes_instruction: Whether an instruction may do something.
    """

    kind: Kind = "cross_encoder"
    truncation: Truncation = "pair"
    score_scale: ScoreScale = "probability"
    multimodal: bool = False
    splits_images: bool = True
    takes_instruction: bool = True

    @property
    def is_listwise(self) -> bool:
        """True when a document's score depends on the others in the call: lists are never split or deduplicated."""
        return self.kind == "listwise"

    def keeps_whole(self, pairs: Pairs) -> bool:
        """True when the pairs' scores depend on each other: they go to a worker in one call, each time anew."""
        return self.is_listwise or (not self.splits_images and pairs.hold_images())

    def check_images(self, pairs: Pairs, model: str) -> None:
        """Check that the model reads what the pairs hold; `model` is its name.

        Raises:
            BadInput: they hold images, which its workers would refuse one by one.
        """
        if self.multimodal or not pairs.hold_images():
            return
        name = f"{model:.80}"
        message = (
            f"The model {name} reads no images, as far as the gateway knows: send texts only. "
            f"If it does, set models.{name}.multimodal: true"
        )
        first = next((index for index, document in enumerate(pairs.documents) if not isinstance(document, str)), None)
        raise BadInput(message, param="query" if first is None else f"documents[{first}]")


def profile_from(declared: Traits, learned: Traits) -> ModelProfile:
    """The profile of a model, from what the operator declared, then what was learned, then what its kind implies."""
    kind = declared.kind or learned.kind or "cross_encoder"
    # What was learned of a model that is of another kind than declared was learned of a mistake.
    implied = learned if declared.kind in {None, learned.kind} else Traits()
    multimodal = learned.multimodal if declared.multimodal is None else declared.multimodal
    return ModelProfile(
        kind=kind,
        truncation=declared.truncation or implied.truncation or _TRUNCATION.get(kind, "pair"),
        score_scale=declared.score_scale or implied.score_scale or _SCORE_SCALE.get(kind, "probability"),
        multimodal=bool(multimodal),
        splits_images=declared.splits_images is not False,
        # What nobody declared and looks like a cross-encoder may be behind a template.
        takes_instruction=kind in TAKE_INSTRUCTIONS or (kind == "cross_encoder" and declared.kind is None),
    )
