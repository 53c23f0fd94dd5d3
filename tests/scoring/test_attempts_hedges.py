"""Hedges: what they save, and how much work they may add; on a virtual clock."""

from tests.virtual import ScriptedLink, after, elapsed, engine, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_a_hedge_saves_a_request_from_one_slow_answer_and_the_loser_is_cancelled():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links, hedge=True) as made:
        for _ in range(60):
            await score(made, DOCUMENTS)
        links[0].always = after(9)
        while not links[0].cancelled:
            assert await elapsed(score(made, DOCUMENTS[:31])) < 0.1


@on_virtual_clock
async def test_hedges_add_at_most_their_share_of_calls():
    links = [ScriptedLink("a"), ScriptedLink("b"), ScriptedLink("c")]
    async with engine(links, hedge=True) as made:
        for _ in range(60):
            await score(made, ["x"])
        before = sum(len(link.calls) for link in links)
        for link in links:
            link.takes_s = 0.1
        for _ in range(200):
            await score(made, ["x"])
        added = sum(len(link.calls) for link in links) - before - 200
    assert added <= 200 * 0.05 + 5


@on_virtual_clock
async def test_without_hedging_nothing_is_sent_twice():
    links = [ScriptedLink("a"), ScriptedLink("b", takes_s=2)]
    async with engine(links) as made:
        for _ in range(60):
            await score(made, ["x"])
    assert sum(len(link.calls) for link in links) == 60
