"""Which route a path means: its end decides, whatever stands before it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api import dialects
from app.api.paths import Destination, read

QUICK = settings(max_examples=500, derandomize=True, database=None, deadline=None)


@pytest.mark.parametrize("route", dialects.ROUTES)
def test_a_route_means_itself(route: str):
    assert read("POST", route) == Destination(route)
    assert read("POST", f"{route}/") == Destination(route)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        # A base URL with a version, and one without.
        ("/v1/v2/rerank", "/v2/rerank"),
        ("/v1/v1/rerank", "/v1/rerank"),
        ("/v2/v1/rerank", "/v1/rerank"),
        ("/v2/v2/rerank", "/v2/rerank"),
        ("/api/rerank", "/rerank"),
        ("/api/v1/rerank", "/v1/rerank"),
        ("/v1/api/rerank", "/v1/rerank"),
        ("/v3/rerank", "/rerank"),
        ("//rerank", "/rerank"),
        ("/a//v1///rerank//", "/v1/rerank"),
        ("/v2/score", "/score"),
        ("/v1/v1/score", "/v1/score"),
        ("/ranking", "/v1/ranking"),
        ("/v2/ranking", "/v1/ranking"),
        ("/v1/retrieval/nvidia/rerank-1b/reranking", "/v1/reranking"),
        ("/reranking", "/v1/reranking"),
        ("/v1/pipeline/sentence-similarity", "/pipeline/sentence-similarity"),
        # No dialect: not the first segment, or none that may be chosen.
        ("/api/voyage/rerank", "/rerank"),
        ("/score/rerank", "/rerank"),
        ("/Voyage/rerank", "/rerank"),
    ],
)
def test_the_end_decides_with_the_last_version_before_it(path: str, route: str):
    assert read("POST", path) == Destination(route)


@pytest.mark.parametrize(
    ("path", "destination"),
    [
        *[(f"/{prefix}/rerank", Destination("/rerank", prefix)) for prefix in dialects.PREFIXES],
        ("/voyage/v1/rerank", Destination("/v1/rerank", "voyage")),
        ("/voyage/api/v2/rerank", Destination("/v2/rerank", "voyage")),
        ("/cohere/v2/rerank", Destination("/v2/rerank", "cohere")),
        ("/models/bge/rerank", Destination("/rerank", model="bge")),
        ("/models/BAAI/bge-v2/v1/rerank", Destination("/v1/rerank", model="BAAI/bge-v2")),
        ("/models/bge/v1/v2/rerank", Destination("/v2/rerank", model="bge")),
        ("/v1/models/bge/rerank", Destination("/v1/rerank", model="bge")),
        ("/v1/models/bge/v2/rerank", Destination("/v2/rerank", model="bge")),
        # What stands inside of a name is no version, and a name has at least one segment.
        ("/models/a/v1/b/rerank", Destination("/rerank", model="a/v1/b")),
        ("/models/v2/rerank", Destination("/rerank", model="v2")),
        ("/models/v2/v1/rerank", Destination("/v1/rerank", model="v2")),
        ("/models/rerank", Destination("/rerank")),
        ("/models/voyage/rerank", Destination("/rerank", model="voyage")),
        ("/voyage/models/BAAI/bge/v1/rerank", Destination("/v1/rerank", "voyage", "BAAI/bge")),
        ("/voyage/models/BAAI/bge/rerank", Destination("/rerank", "voyage", "BAAI/bge")),
        (
            "/hf-inference/models/BAAI/bge/pipeline/sentence-similarity",
            Destination("/pipeline/sentence-similarity", model="BAAI/bge"),
        ),
    ],
)
def test_a_path_may_choose_a_dialect_and_a_model(path: str, destination: Destination):
    assert read("POST", path) == destination


@pytest.mark.parametrize(
    ("path", "destination"),
    [
        ("/info", Destination("/info")),
        ("/tei/info", Destination("/info", "tei")),
        ("/api/info", Destination("/info")),
        ("/models/BAAI/bge/info", Destination("/info", model="BAAI/bge")),
        ("/tei/models/bge/v1/info", Destination("/info", "tei", "bge")),
        ("/v1/models", Destination("/v1/models")),
        ("/models", Destination("/v1/models")),
        ("/v1/v1/models", Destination("/v1/models")),
        ("/voyage/v1/models", Destination("/v1/models", "voyage")),
        ("/models/bge/v1/models", Destination("/v1/models")),
        ("/v1/models/bge", Destination("/v1/models/bge")),
        ("/v1/models/BAAI/bge", Destination("/v1/models/BAAI/bge")),
        ("/v1/models/org/info", Destination("/v1/models/org/info")),
        ("/v1/models/org/rerank", Destination("/v1/models/org/rerank")),
        ("/api/v1/models/BAAI/bge", Destination("/v1/models/BAAI/bge")),
        ("/voyage/models/bge/v1/models/bge", Destination("/v1/models/bge", "voyage")),
    ],
)
def test_models_are_told_of_behind_the_same_prefixes(path: str, destination: Destination):
    assert read("GET", path) == destination


@pytest.mark.parametrize(
    "path", ["/", "", "/livez", "/metrics", "/v1/chat/completions", "/rerank/x", "/sentence-similarity"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_taken_as_they_are(method: str, path: str):
    assert read(method, path) is None


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", ""])
def test_only_get_and_post_have_destinations(method: str):
    assert read(method, "/rerank") is None
    assert read(method, "/info") is None


_SEGMENTS = ["v1", "v2", "models", "info", "rerank", "score", "ranking", "pipeline", "sentence-similarity", "admin", ""]
segments = st.sampled_from([*_SEGMENTS, *dialects.PREFIXES]) | st.text(max_size=8)
any_path = st.lists(segments, max_size=12).map("/".join) | st.text(max_size=60)
methods = st.sampled_from(["GET", "POST", "PUT"])


@QUICK
@given(method=methods, path=any_path)
def test_every_path_means_a_route_or_nothing(method: str, path: str):
    destination = read(method, path)
    if destination:
        known = dialects.ROUTES if method == "POST" else ("/info", "/v1/models")
        assert destination.route in known or destination.route.startswith("/v1/models/")
        assert destination.prefix in {"", *dialects.PREFIXES}
    assert read(method, path + "/") == destination


@QUICK
@given(method=methods, path=any_path, owner=st.sampled_from(["admin", "docs", "ui"]), slashes=st.integers(1, 3))
def test_nothing_below_what_operators_and_people_open_is_touched(method: str, path: str, owner: str, slashes: int):
    assert read(method, f"{'/' * slashes}{owner}/{path}") is None


@QUICK
@given(path=any_path, route=st.sampled_from(dialects.ROUTES))
def test_the_model_is_the_one_between_models_and_the_end(path: str, route: str):
    name = "/".join(segment for segment in path.split("/") if segment)
    destination = read("POST", f"/models/{name}/x{route}")
    assert destination is not None
    assert destination.model == (f"{name}/x" if name else "x")
    assert destination.route == route


def test_a_long_path_is_read_too():
    assert read("POST", "/a" * 30_000 + "/rerank") == Destination("/rerank")
