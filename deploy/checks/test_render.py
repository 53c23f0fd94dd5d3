"""The way to see what a cluster would get, for who has no Helm."""

import pytest
import yaml

from checks.cluster import EXAMPLES, render, values_of
from checks.test_tools import run


@pytest.mark.parametrize("example", [path.stem for path in EXAMPLES.iterdir()])
def test_make_render_prints_an_example_as_yaml_without_notes(example: str):
    told = run("make", "--silent", "render", f"VALUES={example}")
    expected = render(values_of(EXAMPLES / f"{example}.yaml"), namespace="rerank")
    assert (told.returncode, told.stdout, told.stderr) == (0, expected, "")
    assert all(one["kind"] for one in yaml.safe_load_all(told.stdout))
    assert "Milvus, name it" not in told.stdout
