"""What an examination found, as tests ask for it."""

from app.tools.doctor import Findings


def levels(found: Findings) -> dict[str, str]:
    """The worst level by check."""
    order = ["green", "yellow", "red"]
    worst: dict[str, str] = {}
    for one in found:
        worst[one.id] = max(worst.get(one.id, "green"), one.level, key=order.index)
    return worst


def told(found: Findings, check: str, level: str) -> str:
    """What was seen and what to do, of the one finding that isn't green."""
    (finding,) = (one for one in found if one.id == check and one.level != "green")
    assert finding.level == level, finding
    assert finding.fix
    assert "\n" not in finding.seen + finding.fix
    return f"{finding.seen} -> {finding.fix}"
