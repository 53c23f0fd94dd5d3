from app.workers.call_ids import CallIds


def test_calls_of_requests_with_one_id_have_ids_of_their_own_that_begin_with_it():
    ids = CallIds()
    made = [ids.new(request_id) for request_id in ("search", "search", "search-7", "search")]
    assert [call_id.rpartition("-")[0] for call_id in made] == ["search", "search", "search-7", "search"]
    assert len(set(made)) == 4


def test_processes_number_their_calls_from_different_places():
    firsts = {CallIds().new("search") for _ in range(100)}
    assert len(firsts) == 100
    assert len({*map(len, firsts)}) == 1
