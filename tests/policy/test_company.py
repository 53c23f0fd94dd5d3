"""A request is alone when no other was there for a while."""

from app.policy.company import Company


def test_the_first_request_is_alone_with_all_its_pieces():
    company = Company()
    for _ in range(3):
        company.enter("one", 10.0)
        assert company.is_alone(10.0)


def test_with_another_it_is_not_and_not_for_a_second_after_it():
    company = Company()
    company.enter("one", 10.0)
    company.enter("other", 10.1)
    assert not company.is_alone(10.2)
    company.leave("other", 15.0)
    assert not company.is_alone(15.9)
    assert company.is_alone(16.1)


def test_who_still_has_a_piece_there_is_company():
    company = Company()
    company.enter("one", 0.0)
    company.enter("other", 0.0)
    company.enter("other", 0.0)
    company.leave("other", 5.0)
    assert not company.is_alone(9.0)


def test_where_nobody_is_nobody_is_alone():
    company = Company()
    assert not company.is_alone(0.0)
    company.enter("one", 0.0)
    company.leave("one", 1.0)
    assert not company.is_alone(9.0)
