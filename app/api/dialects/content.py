"""Queries and documents that may hold images: vLLM's `{"content": [...]}`, and the `{"image": ...}` of Jina and NVIDIA.

What goes on to a worker is written anew from what was read here, so that nothing unread comes along.
"""

from collections.abc import Sequence
from typing import Any

from app.api.dialects.image import image_of, image_of_text
from app.errors import BadInput
from app.types import Content, Image, Side

# Reading an image takes 5 us and more, and stops everything else: so many take 0.1 s at most, besides their bytes.
MOST_IMAGES = 2000
_KINDS = {type(None): "null", bool: "true or false", int: "a number", float: "a number", list: "a list"}


def documents_in(documents: object, name: str) -> list[Side]:
    """The documents that a client sent in the field `name`; a bare string is one.

    Raises:
        BadInput: they are no list, or an empty one, or as for `sides_of`.
    """
    if isinstance(documents, str):
        return [documents]
    if not isinstance(documents, list):
        raise BadInput(f"{name} must be a list of strings", param=name)
    if not documents:
        raise BadInput(f"{name} is empty: send at least one document", param=name)
    if {*map(type, documents)} == {str}:
        return documents
    return sides_of(documents, name)


def sides_of(items: Sequence[object], name: str) -> list[Side]:
    """The queries or documents in a list; `name` is the field it stands in.

    Raises:
        BadInput: one is no text or content, or they hold more than `MOST_IMAGES` images in all.
    """
    sides: list[Side] = []
    images = 0
    for index, item in enumerate(items):
        side = side_of(item, f"{name}[{index}]")
        if not isinstance(side, str):
            images += len(side.images)
            if images > MOST_IMAGES:
                message = f"{name} has more than the {MOST_IMAGES} images one request may have: send fewer"
                raise BadInput(message, param=f"{name}[{index}]")
        sides.append(side)
    return sides


def side_of(item: object, place: str) -> Side:
    """One query or document: a string, `{"text": ...}`, `{"content": [...]}`, or `{"image": ...}`, with a text or not.

    Raises:
        BadInput: it is something else; `place` says where it stands.
    """
    if isinstance(item, str):
        return item
    if isinstance(item, dict):
        if item.keys() == {"content"}:
            return _joined(_parts(item["content"], f"{place}.content"))
        if item and item.keys() <= {"text", "image"} and all(isinstance(value, str) for value in item.values()):
            image = [image_of_text(item["image"], f"{place}.image")] if "image" in item else []
            return _joined([item["text"], *image] if "text" in item else image)
    kind = "an object with other keys" if isinstance(item, dict) else _KINDS.get(type(item), "no text")
    raise BadInput(f'{place} is {kind}: send a string, {{"text": "..."}} or {{"content": [...]}}', param=place)


def _joined(parts: Sequence[str | Image]) -> Side:
    """The parts as one; texts alone are a text, which vLLM joins in the same way and every model takes."""
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if len(texts) == len(parts) else Content(tuple(parts))


def _parts(content: Any, place: str) -> list[str | Image]:
    if not isinstance(content, list):
        kind = _KINDS.get(type(content), "no list")
        raise BadInput(f"{place} is {kind}: send a list of parts", param=place)
    if not content:
        raise BadInput(f"{place} is empty: send at least one part", param=place)
    if len(content) > MOST_IMAGES:
        raise BadInput(f"{place} has more than {MOST_IMAGES} parts: send fewer", param=place)
    return [_part(part, f"{place}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, place: str) -> str | Image:
    """One part; further keys of it are ignored, `uuid` among them, under which a worker would remember the image."""
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return image_of(url, place)
        case {"type": "text"}:
            raise BadInput(f"{place}.text must be a string", param=place)
        case {"type": "image_url"}:
            raise BadInput(f'{place}.image_url must be {{"url": "data:image/png;base64,..."}}', param=place)
        case {}:
            raise BadInput(f"{place}.type must be text or image_url", param=place)
    raise BadInput(f"{place} must be an object with a type, text or image_url", param=place)
