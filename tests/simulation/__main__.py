"""`python -m tests.simulation`: run seeds, replay one, plant a fault."""

import argparse
import os
import sys
import time

from tests.simulation import faults
from tests.simulation.campaign import Finding, Tally, how_it_breaks, kind_of, look_at, search, short, story_of
from tests.simulation.draw import draw
from tests.simulation.plan import written


def main() -> int:
    """Do as the command line says; 1 when a promise was broken."""
    asked = _arguments()
    if asked.replay is not None:
        with faults.planted(asked.fault):
            return _replay(asked.replay, is_whole=asked.whole)
    began, stats = time.monotonic(), Tally()
    found: dict[str, Finding] = {}
    first = int(time.time()) if asked.first is None else asked.first
    print(f"seeds from {first}", flush=True)
    for more, findings in search(first, seeds=asked.seeds, for_s=asked.for_s, jobs=asked.jobs, fault=asked.fault):
        stats.add(more)
        for finding in findings:
            kind = f"{finding.promise}: {kind_of(finding.sentence)}"
            if kind not in found:
                found[kind] = finding
                print(
                    f"after {stats.seeds} seeds: {finding.seed} breaks {finding.promise}: {finding.sentence}",
                    flush=True,
                )
        if found and not asked.goes_on:
            break
    took_s = time.monotonic() - began
    print(
        f"{stats.seeds} seeds, {stats.requests} requests, {stats.virtual_s / 60:.0f} virtual minutes in {took_s:.0f} s"
        f" ({stats.seeds / took_s:.0f} seeds/s): {len(found) or 'no'} kinds of broken promises"
    )
    with faults.planted(asked.fault):
        for finding in [*found.values()][: asked.stories]:
            _tell(finding)
    return bool(found)


def _replay(seed: int, *, is_whole: bool) -> int:
    finding = look_at(draw(seed), Tally())
    if finding is None:
        print(f"seed {seed} keeps every promise")
        return 0
    if is_whole:
        print(story_of(draw(seed), finding))
    else:
        _tell(finding)
    return 1


def _tell(finding: Finding) -> None:
    """Print the short story of a finding, and the plan that makes it again."""
    plan = draw(finding.seed)
    if how_it_breaks(plan, finding):
        plan = short(plan, finding)
        print(f"\n{story_of(plan, finding)}\n\n{written(plan)}", flush=True)
    else:
        print(f"\nSeed {finding.seed} broke {finding.promise} and doesn't again: something isn't decided by the seed.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many; without it, as many as there is time for")
    parser.add_argument("--from", type=int, dest="first", help="the first seed; by default the time")
    parser.add_argument("--for", type=float, dest="for_s", help="seconds after which no new seed begins")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed, and tell its story if it fails")
    parser.add_argument("--whole", action="store_true", help="with --replay: tell the story unshrunk")
    parser.add_argument("--goes-on", action="store_true", help="go on after the first broken promise")
    parser.add_argument("--stories", type=int, default=3, help="how many short stories to tell at the end")
    parser.add_argument("--fault", choices=sorted(faults.FAULTS), help="plant a fault first")
    asked = parser.parse_args()
    if asked.seeds is None and asked.for_s is None and asked.replay is None:
        parser.error("say how long: --seeds, --for or --replay")
    return asked


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets would be another source of chance.
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606 - this program once more
    sys.exit(main())
