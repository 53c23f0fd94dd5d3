"""docs/security.md and the tests say the same."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NAMED = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))


def named_below(folder: Path) -> set[str]:
    return {name for path in folder.rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text())}


def test_every_claim_is_held_by_a_test_that_exists():
    assert len(NAMED) > 50
    assert named_below(ROOT / "tests") >= NAMED


def test_every_test_of_security_is_named_where_its_claim_stands():
    own = set(re.findall(r"def (test_\w+)\(", Path(__file__).read_text()))
    assert NAMED | own >= named_below(Path(__file__).parent)
