"""The README's way to see what a cluster would get."""

import pytest

from checks.cluster import overlays, render
from checks.test_tools import run


@pytest.mark.parametrize("overlay", [folder.name for folder in overlays()])
def test_make_render_prints_an_overlay(overlay: str):
    told = run("make", "--silent", "render", f"OVERLAY={overlay}")
    (folder,) = (one for one in overlays() if one.name == overlay)
    assert (told.returncode, told.stdout, told.stderr) == (0, render(folder), "")
