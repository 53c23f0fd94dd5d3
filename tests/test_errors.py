"""What a worker says of a client's texts is told to that client alone."""

import pytest

from app.errors import SAID, Busy, NoWorker
from tests.virtual import ScriptedLink, engine, on_virtual_clock, score


@pytest.mark.parametrize("words", ["no", "w", "e", SAID, ""])
@on_virtual_clock
async def test_a_workers_words_are_left_out_and_none_of_ours(words: str):
    link = ScriptedLink("w", always=Busy(f"w answered 503: {SAID}", words=words))
    async with engine([link], max_attempts=1) as made:
        with pytest.raises(NoWorker) as raised:
            await score(made, ["document"])
    assert raised.value.message == f"No worker can serve now: w answered 503: {words}."
    assert raised.value.redacted == f"No worker can serve now: w answered 503: {SAID}."
