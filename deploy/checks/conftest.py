"""Renders everything once."""

import pytest

from checks.cluster import Cluster, alone, components, overlays, render


@pytest.fixture(scope="session", params=[*overlays(), *components()], ids=lambda folder: folder.name)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Every overlay, and every component by itself."""
    folder = request.param
    is_component = folder.parent.name == "components"
    return Cluster(folder.name, render(alone(folder, tmp_path_factory.mktemp(folder.name)) if is_component else folder))


@pytest.fixture(scope="session", params=[one for one in overlays() if one.name != "dev"], ids=lambda one: one.name)
def production(request: pytest.FixtureRequest) -> Cluster:
    """Every overlay that people depend on."""
    return Cluster(request.param.name, render(request.param))
