"""What came of a run, and the times within which a gateway has to notice and to recover."""

from dataclasses import dataclass, field

from app.settings import Settings
from tests.simulation.plan import Plan
from tests.simulation.record import Record, Request

# Before the first event of a plan, so that most begin with workers that have been asked who they are.
SETTLING_S = 1.0
# What rounding and a loop's turns take, generously.
LITTLE_S = 0.5
# The longest pause of a breaker, with its jitter.
_LONGEST_PAUSE_S = 4.0 * 1.2


@dataclass
class Outcome:
    """What came of a run.

    Args:
        plan: What was to happen.
        settings: Of the gateways.
        record: What happened.
        quiet_at: When all faults had been over for so long that everybody had to be well.
        unwell: What was wrong with the gateways' workers then.
        last: The requests that were sent then, one to each replica and model.
        left: What was left when nobody asked any more.
        stuck: Why the run didn't come to its end.
    """

    plan: Plan
    settings: Settings
    record: Record
    quiet_at: float = 0.0
    unwell: list[str] = field(default_factory=list)
    last: list[Request] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    stuck: str = ""
    took_s: float = 0.0


def recovery_s(settings: Settings) -> float:
    """Seconds after the last fault within which every worker that is up has to be usable."""
    # A probe that began before may fail as late as it can; who only rests is asked at the usual interval.
    failing_s, resting_s = settings.probe_timeout_s + _LONGEST_PAUSE_S, 1.2 * settings.probe_interval_s
    return max(failing_s, resting_s) + settings.probe_timeout_s + LITTLE_S


def detection_s(settings: Settings) -> float:
    """Seconds within which a probe has to tell new weights that nothing else told of."""
    return 5 * 1.2 * settings.probe_interval_s + 2 * settings.probe_timeout_s + LITTLE_S
