"""Renders everything once."""

import pytest

from checks.cluster import EXAMPLES, Cluster, render, set_ups, values_of


@pytest.fixture(scope="session", params=set_ups(), ids=lambda path: path.stem)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The chart with every file of values."""
    return Cluster(request.param.stem, render(values_of(request.param)))


@pytest.fixture(scope="session", params=["milvus", "prod"])
def production(request: pytest.FixtureRequest) -> Cluster:
    """The examples that people depend on."""
    return Cluster(request.param, render(values_of(EXAMPLES / f"{request.param}.yaml")))
