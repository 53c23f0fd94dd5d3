from typing import Any

import pytest

from app.errors import BadInput
from app.policy import truncate
from app.policy.token_estimate import SPECIAL_TOKENS
from app.policy.truncate import Lengths, needs_count, with_images
from app.types import Content, Image

CROSS_ENCODER: dict[str, Any] = {
    "mode": "pair",
    "long_documents": "truncate",
    "max_model_len": 512,
    "template_tokens": 100,
    "query_tokens": 10,
}
CHAT_TEMPLATE = CROSS_ENCODER | {"mode": "document"}


def worker_fields(sent: dict[str, Any], *, long_documents: Any, **lengths: Any) -> dict[str, Any]:
    return truncate.worker_fields(sent, Lengths(**lengths), long_documents=long_documents)


def room(sent: dict[str, Any], **settings: Any) -> int:
    fields = worker_fields(sent, **settings)
    return truncate.room_tokens(fields, Lengths(**{name: settings[name] for name in Lengths._fields}))


def test_a_cross_encoders_pair_is_cut_at_the_models_length():
    assert worker_fields({}, **CROSS_ENCODER) == {"truncate_prompt_tokens": -1}


def test_a_long_query_is_kept_whole_by_cutting_only_the_document():
    fields = worker_fields({}, **CROSS_ENCODER | {"query_tokens": 300})
    assert fields == {"truncate_prompt_tokens": -1, "max_tokens_per_doc": 511}


@pytest.mark.parametrize("long_documents", ["truncate", "error"])
@pytest.mark.parametrize("settings", [CROSS_ENCODER, CHAT_TEMPLATE])
def test_a_query_that_fills_the_model_is_an_error(settings, long_documents):
    overhead = SPECIAL_TOKENS if settings["mode"] == "pair" else 100
    limits = settings | {"long_documents": long_documents}
    worker_fields({}, **limits | {"query_tokens": 511 - overhead})
    with pytest.raises(BadInput, match="shorten the query") as raised:
        worker_fields({}, **limits | {"query_tokens": 512 - overhead})
    assert raised.value.param == "query"


def test_a_chat_template_keeps_its_end_since_only_the_document_is_cut():
    assert worker_fields({}, **CHAT_TEMPLATE) == {"max_tokens_per_doc": 512 - 100 - 10}


def test_a_length_the_client_chose_for_the_pair_becomes_the_documents_share():
    fields = worker_fields({"truncate_prompt_tokens": 200}, **CHAT_TEMPLATE)
    assert fields == {"max_tokens_per_doc": 90}


def test_a_length_without_room_for_the_document_is_an_error():
    with pytest.raises(BadInput, match="raise it") as raised:
        worker_fields({"truncate_prompt_tokens": 110}, **CHAT_TEMPLATE)
    assert raised.value.param == "truncate_prompt_tokens"


def test_the_shorter_of_two_document_limits_wins():
    assert worker_fields({"max_tokens_per_doc": 50}, **CHAT_TEMPLATE) == {"max_tokens_per_doc": 50}
    assert worker_fields({"max_tokens_per_doc": 500}, **CHAT_TEMPLATE) == {"max_tokens_per_doc": 402}


def test_a_chat_template_cant_be_cut_from_the_left():
    with pytest.raises(BadInput, match=r"^truncation_side left is not possible .* cut at their end$") as raised:
        worker_fields({"truncation_side": "left"}, **CHAT_TEMPLATE)
    assert raised.value.param == "truncation_side"
    assert worker_fields({"truncation_side": "right"}, **CHAT_TEMPLATE) == worker_fields({}, **CHAT_TEMPLATE)


def test_a_pair_length_the_client_chose_is_left_to_vllm():
    sent = {"truncate_prompt_tokens": 64, "truncation_side": "left"}
    assert worker_fields(sent, **CROSS_ENCODER) == sent


def test_in_error_mode_the_worker_is_left_to_refuse():
    assert worker_fields({}, **CROSS_ENCODER | {"long_documents": "error"}) == {}


def test_in_error_mode_a_client_may_still_ask_for_a_cut():
    sent = {"truncate_prompt_tokens": -1}
    assert worker_fields(sent, **CROSS_ENCODER | {"long_documents": "error"}) == sent


def test_a_length_beyond_the_model_is_an_error():
    with pytest.raises(BadInput, match="513") as raised:
        worker_fields({"truncate_prompt_tokens": 513}, **CROSS_ENCODER)
    assert raised.value.param == "truncate_prompt_tokens"


@pytest.mark.parametrize("name", ["max_tokens_per_doc", "max_tokens_per_query"])
def test_limits_that_limit_nothing_are_not_sent(name):
    assert name not in worker_fields({name: 4096}, **CROSS_ENCODER)
    assert name not in worker_fields({name: 512}, **CROSS_ENCODER)
    assert name not in worker_fields({name: 0}, **CROSS_ENCODER)
    assert worker_fields({name: 511}, **CROSS_ENCODER)[name] == 511


def test_tokens_are_counted_only_when_the_query_may_fill_half_of_the_model():
    assert not needs_count("x" * (256 - SPECIAL_TOKENS), 512)
    assert needs_count("x" * (257 - SPECIAL_TOKENS), 512)
    assert needs_count("é" * 150, 512)


def test_the_query_is_the_longer_half_only_beyond_half_of_the_model():
    assert worker_fields({}, **CROSS_ENCODER | {"query_tokens": 256 - SPECIAL_TOKENS}) == {"truncate_prompt_tokens": -1}
    cut = worker_fields({}, **CROSS_ENCODER | {"query_tokens": 257 - SPECIAL_TOKENS})
    assert cut["max_tokens_per_doc"] == 511


def test_asking_for_the_models_length_is_as_good_as_asking_for_nothing():
    asked = {"truncate_prompt_tokens": -1}
    for settings in (CROSS_ENCODER, CHAT_TEMPLATE, CROSS_ENCODER | {"query_tokens": 300}):
        assert worker_fields(asked, **settings) == worker_fields({}, **settings)
    assert worker_fields({"truncate_prompt_tokens": 512}, **CROSS_ENCODER) == {"truncate_prompt_tokens": 512}


def test_a_query_the_client_has_cut_itself_fits_at_any_length():
    fields = worker_fields({"max_tokens_per_query": 50}, **CROSS_ENCODER | {"query_tokens": 600})
    assert fields == {"max_tokens_per_query": 50, "truncate_prompt_tokens": -1}


def test_a_documents_room_is_what_query_and_template_leave_of_the_model_or_of_a_shorter_limit():
    assert room({}, **CROSS_ENCODER) == 512 - 10 - SPECIAL_TOKENS
    assert room({}, **CHAT_TEMPLATE) == 512 - 10 - 100
    assert room({}, **CROSS_ENCODER | {"query_tokens": 300}) == 512 - 300 - SPECIAL_TOKENS
    for settings, overhead in ((CROSS_ENCODER, 10 + SPECIAL_TOKENS), (CHAT_TEMPLATE, 110)):
        assert room({"truncate_prompt_tokens": 200}, **settings) == 200 - overhead
        assert room({"max_tokens_per_doc": 50}, **settings) == 50
        assert room({"max_tokens_per_query": 4}, **settings) == 512 - (overhead - 6)
    assert room({"truncate_prompt_tokens": 8}, **CROSS_ENCODER) < 1


@pytest.mark.parametrize(("text_tokens", "tokens", "known_as"), [(10, 20, 30), (11, 1280, 261), (600, 1280, 600)])
def test_the_images_of_a_query_take_half_of_what_its_text_leaves_at_most(text_tokens: int, tokens: int, known_as: int):
    query = Content((Image("", b"", tokens),))
    assert with_images(text_tokens, query, 512) == known_as
    assert with_images(text_tokens, "q", 512) == text_tokens
