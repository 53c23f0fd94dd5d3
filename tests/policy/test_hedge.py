from app.policy.hedge import hedge_after_s


def test_no_hedge_before_it_is_known_what_is_usual():
    assert hedge_after_s(None) is None


def test_a_hedge_waits_for_what_is_usual_but_never_for_almost_nothing():
    assert hedge_after_s(0.3) == 0.3
    assert hedge_after_s(0.0001) == 0.01
