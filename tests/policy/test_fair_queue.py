from collections import Counter
from collections.abc import Callable
from itertools import accumulate, combinations
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.fair_queue import FairQueue

T = TypeVar("T")


def _always(_: object) -> bool:
    return True


def _take(queue: FairQueue[T], fits: Callable[[T], object] = _always) -> T | None:
    taken = queue.take(fits)
    return taken[0] if taken else None


def _drained(queue: FairQueue[str]) -> list[str]:
    taken = []
    while (item := _take(queue)) is not None:
        taken.append(item)
    return taken


def _fill(queue: FairQueue[str], key: str, request: str, chunks: int, documents: int = 10, priority: int = 0) -> None:
    for number in range(chunks):
        queue.push(f"{request}{number}", key=key, request=request, documents=documents, priority=priority)


def test_one_requests_chunks_keep_their_order():
    queue = FairQueue[str]()
    _fill(queue, "k", "a", 5)
    assert _drained(queue) == ["a0", "a1", "a2", "a3", "a4"]


def test_requests_of_a_key_take_turns():
    queue = FairQueue[str]()
    _fill(queue, "k", "a", 3)
    _fill(queue, "k", "b", 3)
    assert _drained(queue) == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_turns_are_counted_in_documents():
    queue = FairQueue[str]()
    _fill(queue, "k", "big", 4, documents=100)
    _fill(queue, "k", "small", 4, documents=10)
    assert _drained(queue)[:6] == ["small0", "small1", "small2", "small3", "big0", "big1"]


def test_keys_share_evenly_however_many_requests_each_has():
    queue = FairQueue[str]()
    for number in range(9):
        _fill(queue, "greedy", f"g{number}-", 10)
    _fill(queue, "modest", "m", 10)
    taken = Counter(item[0] for item in _drained(queue)[:20])
    assert taken["m"] == 10


def test_a_newcomer_is_next_but_saved_up_nothing():
    queue = FairQueue[str]()
    _fill(queue, "k", "a", 100)
    for _ in range(50):
        _take(queue)
    _fill(queue, "k", "b", 100)
    taken = Counter(item[0] for item in [_take(queue) or "" for _ in range(40)])
    assert 19 <= taken["b"] <= 21
    _fill(queue, "new", "c", 100)
    taken = Counter(item[0] for item in [_take(queue) or "" for _ in range(40)])
    assert 19 <= taken["c"] <= 21


def test_priority_orders_only_within_its_key():
    queue = FairQueue[str]()
    _fill(queue, "k", "late", 3, priority=5)
    _fill(queue, "k", "soon", 3, priority=-5)
    _fill(queue, "other", "x", 3)
    taken = _drained(queue)
    assert [item for item in taken if item[0] != "x"] == ["soon0", "soon1", "soon2", "late0", "late1", "late2"]
    assert [index for index, item in enumerate(taken) if item[0] == "x"] == [1, 3, 5]


def test_what_does_not_fit_keeps_its_place():
    queue = FairQueue[str]()
    _fill(queue, "k", "a", 2)
    _fill(queue, "k", "b", 2)
    assert _take(queue, lambda item: item.startswith("b")) == "b0"
    assert _take(queue, lambda _: False) is None
    assert sorted(_drained(queue)) == ["a0", "a1", "b1"]


def test_who_takes_an_item_gets_what_was_found_for_it():
    queue = FairQueue[str]()
    _fill(queue, "k", "a", 3)
    assert queue.take({"a1": ["here"]}.get) == ("a1", ["here"])
    assert queue.take({"a1": ["here"]}.get) is None


def test_documents_before_a_newcomer_are_those_that_fair_shares_put_there():
    queue = FairQueue[str]()
    _fill(queue, "k", "big", 100)
    _fill(queue, "k", "small", 1, documents=4)
    assert queue.documents_before(key="k", documents=10) == 10 + 4
    assert queue.documents_before(key="other", documents=10) == 10
    assert queue.documents_before(key="other", documents=10**6) == 1004


def test_if_as_many_go_on_to_wait_a_newcomer_lets_pass_as_much_of_each_as_it_has_itself():
    queue = FairQueue[str]()
    assert queue.most_before(key="k", documents=10) == 0
    _fill(queue, "k", "a", 1)
    _fill(queue, "k", "b", 5)
    _fill(queue, "other", "c", 2)
    # Of two keys each gets half, of three a third; of its key's part the newcomer has its part among the requests.
    assert queue.most_before(key="k", documents=10) == 10 * (2 * 3 - 1)
    assert queue.most_before(key="other", documents=10) == 10 * (2 * 2 - 1)
    assert queue.most_before(key="new", documents=10) == 10 * (3 * 1 - 1)
    while _take(queue, lambda item: item[0] == "c"):
        pass
    assert queue.most_before(key="other", documents=10) == 10 * (2 * 1 - 1)


def test_what_waits_of_a_request_or_a_key_is_counted_in_documents():
    queue = FairQueue[str]()
    _fill(queue, "k", "a", 2)
    queue.push("last", key="k", request="a", documents=10)
    _fill(queue, "k", "b", 2, documents=4)
    _fill(queue, "other", "a", 1, documents=7)
    assert (queue.waiting_of("k", "a"), queue.waiting_of("k", "b"), queue.waiting_of("k")) == (30, 8, 38)
    assert queue.remove("last", key="k", request="a")
    _take(queue, lambda item: item == "b0")
    assert (queue.waiting_of("k", "a"), queue.waiting_of("k", "b"), queue.waiting_of("k")) == (20, 4, 24)


def test_of_those_nobody_knows_nothing_waits():
    queue = FairQueue[str]()
    assert queue.waiting_of("k", "a") == queue.waiting_of("k") == 0
    _fill(queue, "k", "a", 1)
    assert queue.waiting_of("k", "b") == queue.waiting_of("other", "a") == queue.waiting_of("other") == 0
    _drained(queue)
    assert queue.waiting_of("k", "a") == queue.waiting_of("k") == 0
    assert not queue.remove("a0", key="k", request="a")


@given(
    st.lists(
        st.tuples(
            st.sampled_from("KLM"),
            st.sampled_from("abc"),
            st.integers(1, 50),
            st.sampled_from(["push", "take", "remove"]),
        ),
        max_size=80,
    )
)
def test_nothing_is_lost_doubled_or_left_behind(steps):
    queue = FairQueue[int]()
    waiting: dict[int, tuple[str, str, int]] = {}
    for number, (key, request, documents, step) in enumerate(steps):
        if step == "push":
            queue.push(number, key=key, request=request, documents=documents)
            waiting[number] = (key, request, documents)
        elif step == "take":
            item = _take(queue)
            assert (item is None) == (not waiting)
            waiting.pop(item if item is not None else -1, None)
        elif waiting:
            item, (owner, claim, _) = next(iter(waiting.items()))
            assert queue.remove(item, key=owner, request=claim)
            assert not queue.remove(item, key=owner, request=claim)
            del waiting[item]
        assert len(queue) == len(waiting)
        assert queue.documents == sum(documents for _, _, documents in waiting.values())
        assert queue.waiting_of(key) == sum(documents for owner, _, documents in waiting.values() if owner == key)
        assert queue.waiting_of(key, request) == sum(
            documents for owner, claim, documents in waiting.values() if (owner, claim) == (key, request)
        )
        assert queue.documents_before(key="none", documents=10**9) == sum(
            documents for _, _, documents in waiting.values()
        )
    assert sorted(iter(lambda: _take(queue), None)) == sorted(waiting)


def test_turns_stay_even_however_long_they_go_on():
    queue = FairQueue[str]()
    _fill(queue, "k", "big", 4, documents=100)
    _fill(queue, "k", "small", 40, documents=10)
    taken = _drained(queue)
    assert [taken.index(f"big{number}") for number in range(4)] == [9, 20, 31, 42]


def test_what_does_not_wait_cannot_be_taken_out():
    queue = FairQueue[str]()
    queue.push("here", key="k", request="a", documents=1)
    assert not queue.remove("other", key="k", request="a")
    assert not queue.remove("here", key="k", request="unknown")
    assert not queue.remove("here", key="unknown", request="a")
    assert queue.remove("here", key="k", request="a")


def test_who_takes_an_item_out_has_had_no_turn():
    queue = FairQueue[str]()
    for item in ("a0", "a1", "b0"):
        queue.push(item, key="k", request=item[0], documents=10)
    assert queue.remove("a0", key="k", request="a")
    assert _drained(queue) == ["a1", "b0"]


@pytest.mark.parametrize("is_same_key", [True, False])
@pytest.mark.parametrize("clients", [1, 8, 16, 64])
def test_a_request_of_many_chunks_gets_its_share_beside_clients_that_never_stop_sending_small_ones(
    clients: int,
    is_same_key: bool,  # noqa: FBT001 - pytest's
):
    queue = FairQueue[str]()
    _fill(queue, "big", "big", 4000, documents=32)
    keys = {f"small{client}": "big" if is_same_key else f"key{client}" for client in range(clients)}
    for name, key in keys.items():
        queue.push(name, key=key, request=name, documents=32)
    taken: Counter[str] = Counter()
    for number in range(3900):
        item = _take(queue) or ""
        taken[item if item in keys else "big"] += 1
        if item in keys:
            queue.push(item, key=keys[item], request=f"{item}, {number}", documents=32)
    assert max(taken.values()) - min(taken.values()) <= 2, taken


def test_a_key_that_comes_back_has_not_lost_what_it_was_ahead():
    queue = FairQueue[str]()
    for number in range(10):
        _fill(queue, f"small{number}", f"small{number}", 1000, documents=1)
    taken: Counter[str] = Counter()
    for number in range(2000):
        if not queue.waiting_of("huge"):
            queue.push("huge", key="huge", request=number, documents=64)
        item = _take(queue) or ""
        taken["huge" if item == "huge" else "small"] += 64 if item == "huge" else 1
    assert taken["huge"] <= taken["small"] / 10 + 64


@pytest.mark.parametrize("seed", range(20))
def test_while_two_requests_of_a_key_wait_they_get_the_same_but_for_two_of_the_larger_ones_chunks(seed: int):
    rng = Random(seed)
    queue = FairQueue[str]()
    chunks: dict[str, list[int]] = {}
    sent_at: dict[str, int] = {}
    grants: list[tuple[str, int]] = []
    for step in range(300):
        # Many that are done after a chunk leave newcomers to who has waited meanwhile.
        for number in range(rng.choice([1, 1, 8]) if rng.random() < 0.1 else 0):
            name, size = f"{rng.choice('KL')}{step}.{number}", rng.choice([8, 15, 16])
            chunks[name] = [size] + [rng.choice([size, size - 1]) for _ in range(rng.choice([0, 0, 20]))]
            sent_at[name] = len(grants)
            for documents in chunks[name]:
                queue.push(name, key=name[0], request=name, documents=documents)
        if taken := _take(queue):
            grants.append((taken, chunks[taken][sum(name == taken for name, _ in grants)]))
    last = {name: place for place, (name, _) in enumerate(grants)}
    for one, other in combinations(last, 2):
        if one[0] == other[0]:
            both_wait = grants[max(sent_at[one], sent_at[other]) : min(last[one], last[other]) + 1]
            ahead = [0, *accumulate({one: 1, other: -1}.get(name, 0) * documents for name, documents in both_wait)]
            assert max(ahead) - min(ahead) <= 2 * max(chunks[one][0], chunks[other][0])


@pytest.mark.parametrize("seed", range(20))
def test_whoever_sends_its_next_request_at_once_has_its_share_whatever_the_others_send(seed: int):
    rng = Random(seed)
    queue = FairQueue[int]()
    clients = [(rng.choice("KLM"), rng.randint(1, 8), rng.randint(1, 64)) for _ in range(rng.randint(2, 12))]
    of_key = Counter(key for key, _, _ in clients)
    largest = max(size for _, _, size in clients)
    taken, waited = [0] * len(clients), [0] * len(clients)
    for step in range(6000):
        for number, (key, chunks, size) in enumerate(clients):
            if not queue.waiting_of(key, (number, taken[number] // (chunks * size))):
                for _ in range(chunks):
                    request = (number, taken[number] // (chunks * size))
                    queue.push(number, key=key, request=request, documents=size)
        item = _take(queue)
        assert item is not None, step
        size = clients[item][2]
        taken[item] += size
        waited = [0 if number == item else documents + size for number, documents in enumerate(waited)]
        for (key, _, _), documents in zip(clients, waited, strict=True):
            assert documents <= len(of_key) * of_key[key] * 3 * largest
    even = sum(taken) / len(of_key)
    for key in of_key:
        of_clients = [documents for (owner, _, _), documents in zip(clients, taken, strict=True) if owner == key]
        assert abs(sum(of_clients) - even) <= 2 * largest
        assert min(of_clients) >= even / len(of_clients) / 2
