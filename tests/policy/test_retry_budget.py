from app.policy.retry_budget import RetryBudget


def _withdrawn(budget: RetryBudget, now: float) -> int:
    count = 0
    while budget.withdraw(now):
        count += 1
    return count


def test_a_share_of_first_attempts_may_be_repeated():
    budget = RetryBudget(ratio=0.2, reserve=0)
    for _ in range(100):
        budget.deposit()
    assert _withdrawn(budget, now=0) in {19, 20}


def test_the_reserve_is_there_from_the_start_and_comes_back():
    budget = RetryBudget(ratio=0.2, reserve=10)
    assert _withdrawn(budget, now=0) == 10
    assert _withdrawn(budget, now=5) == 5
    assert _withdrawn(budget, now=100) == 10


def test_no_more_is_saved_up_than_a_bounded_number():
    budget = RetryBudget(ratio=1, reserve=0)
    for _ in range(10_000):
        budget.deposit()
    assert _withdrawn(budget, now=0) == 100


def test_what_was_paid_in_is_not_lost_by_waiting():
    budget = RetryBudget(ratio=1, reserve=2)
    for _ in range(10):
        budget.deposit()
    assert budget.left(now=0) == budget.left(now=1000) == 12


def test_asking_what_is_left_changes_nothing():
    budget = RetryBudget(ratio=0.2, reserve=10)
    _withdrawn(budget, now=0)
    before = dict(vars(budget))
    assert [budget.left(now) for now in (0, 5, 5, 3, 100)] == [0, 5, 5, 3, 10]
    assert vars(budget) == before
