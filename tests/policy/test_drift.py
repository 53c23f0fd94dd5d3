from app.policy.drift import same_weights


def test_noise_of_low_precision_is_no_change():
    assert same_weights([0.9, 0.1, 0.5], [0.86, 0.14, 0.46])
    assert same_weights([0.05], [0.0])


def test_one_pair_that_stayed_is_enough_to_be_the_same():
    assert same_weights([0.9, 0.1, 0.5], [0.1, 0.1, 0.9])


def test_scores_that_all_moved_are_other_weights():
    assert not same_weights([0.9, 0.1, 0.5], [0.8, 0.2, 0.4])
