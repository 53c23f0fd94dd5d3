"""Queries and documents that may hold images, in the shapes of vLLM, Jina and NVIDIA."""

from typing import Any

import pytest

from app.api.dialects.content import MOST_IMAGES, side_of, sides_of
from app.api.dialects.image import image_of
from app.errors import BadInput
from app.types import Content
from tests.pictures import base64_of, content_of, png, url_of

IMAGE = image_of(url_of(png()), "")
TEXT_PART = {"type": "text", "text": "a"}
IMAGE_PART = {"type": "image_url", "image_url": {"url": url_of(png())}}


@pytest.mark.parametrize(
    ("item", "side"),
    [
        ("a", "a"),
        ({"text": "a"}, "a"),
        ({"text": ""}, ""),
        (content_of("a", png(), "b"), Content(("a", IMAGE, "b"))),
        (content_of(png(), png()), Content((IMAGE, IMAGE))),
        ({"content": [TEXT_PART | {"uuid": "u"}, IMAGE_PART | {"uuid": "u", "detail": "low"}]}, Content(("a", IMAGE))),
        ({"image": url_of(png())}, Content((IMAGE,))),
        ({"image": base64_of(png())}, Content((IMAGE,))),
        ({"image": url_of(png()), "text": "a"}, Content(("a", IMAGE))),
    ],
)
def test_a_side_is_a_text_or_content_in_any_of_these_shapes(item: object, side: object):
    assert side_of(item, "query") == side


def test_content_without_images_is_the_text_that_vllm_makes_of_it():
    assert side_of(content_of("a", "", "b"), "query") == "a\n\nb"


@pytest.mark.parametrize(
    ("item", "place", "told"),
    [
        (None, "", "is null"),
        (5, "", "is a number"),
        ([TEXT_PART], "", "is a list"),
        ({}, "", "an object with other keys"),
        ({"text": 5}, "", "an object with other keys"),
        ({"image": 5}, "", "an object with other keys"),
        ({"image": None, "text": "a"}, "", "an object with other keys"),
        ({"content": [TEXT_PART], "text": "a"}, "", "an object with other keys"),
        ({"image": "x"}, ".image", "not base64"),
        ({"image": "aaaa"}, ".image", "no PNG"),
        ({"image": "file:///a.png"}, ".image", "no image"),
        ({"content": []}, ".content", "is empty"),
        ({"content": "a"}, ".content", "send a list of parts"),
        ({"content": None}, ".content", "is null"),
        ({"content": {"type": "text", "text": "a"}}, ".content", "send a list of parts"),
        ({"content": [TEXT_PART, "a"]}, ".content[1]", "must be an object"),
        ({"content": [TEXT_PART, [IMAGE_PART]]}, ".content[1]", "must be an object"),
        ({"content": [TEXT_PART, {"content": [TEXT_PART]}]}, ".content[1]", "type must be text or image_url"),
        ({"content": [{}]}, ".content[0]", "type must be text or image_url"),
        ({"content": [{"type": "video_url", "video_url": {"url": ""}}]}, ".content[0]", "type must be text or image"),
        ({"content": [{"type": "image_embeds", "image_embeds": ""}]}, ".content[0]", "type must be text or image_url"),
        ({"content": [{"type": ["text"], "text": "a"}]}, ".content[0]", "type must be text or image_url"),
        ({"content": [{"type": "text"}]}, ".content[0]", "text must be a string"),
        ({"content": [{"type": "text", "text": {"text": "a"}}]}, ".content[0]", "text must be a string"),
        ({"content": [{"type": "image_url", "image_url": url_of(png())}]}, ".content[0]", 'must be {"url"'),
        ({"content": [{"type": "image_url", "image_url": {"url": [url_of(png())]}}]}, ".content[0]", 'must be {"url"'),
        ({"content": [TEXT_PART, {"type": "image_url", "image_url": {"url": "a"}}]}, ".content[1]", "no image"),
        ({"content": [TEXT_PART] * (MOST_IMAGES + 1)}, ".content", "more than 2000 parts"),
    ],
)
def test_what_is_none_of_them_is_refused_with_the_places_of_document_and_part(item: Any, place: str, told: str):
    with pytest.raises(BadInput) as caught:
        sides_of(["a", item], "documents")
    assert caught.value.param == f"documents[1]{place}"
    assert caught.value.message.startswith(f"documents[1]{place}")
    assert told in caught.value.message
    assert len(caught.value.message) < 200


def test_a_request_has_so_many_images_at_most():
    most = [content_of(png())] * MOST_IMAGES
    assert len(sides_of(["a", *most], "documents")) == MOST_IMAGES + 1
    with pytest.raises(BadInput, match="more than the 2000 images") as caught:
        sides_of([*most, "a", {"image": base64_of(png())}], "documents")
    assert caught.value.param == f"documents[{MOST_IMAGES + 1}]"
