"""The map of `app/`: imports go down only, `TYPE_CHECKING` ones too; a folder per concept, one name for one thing."""

import ast
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# From the bottom up: each imports from those before it, none from those after it. docs/architecture.md draws it.
LAYERS = (
    "app",
    "app.errors",
    "app.types",
    "app.aio",
    "app.policy",
    "app.settings",
    "app.telemetry",
    "app.net",
    "app.cache",
    "app.workers",
    "app.queueing",
    "app.scoring",
    "app.assembly",
    "app.api",
    "app.server",
    "app.main",
    "app.tools",
    "app.cli",
    "app.__main__",
)
# Arrows that point up or close a circle until a change of code cuts them: "importer -> imported". It only gets shorter.
YET_TO_BE_CUT: frozenset[str] = frozenset()

MOST_MODULES_IN_ROOT = 8
# A policy is told what time it is, and gets its chance as an argument.
PURE = {
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "orjson",
    "re",
    "typing",
    "unicodedata",
}
# Names that mean one thing in one place: clients' dialects may be called as the workers whose shape they have.
MAY_REPEAT = {"__init__", "command"}
RETIRED = {
    "address": "addresses",
    "agreed": "replica_sync",
    "answers": "responses",
    "bounds": "time_limits",
    "budget": "retry_budget",
    "choice": "placement",
    "commands": "redis_commands",
    "company": "lone_request",
    "digest": "pair_digest",
    "dispatch": "attempts",
    "door": "asgi",
    "drift": "model_change",
    "engine": "assembly",
    "entry": "__main__",
    "estimate": "token_estimate",
    "exam": "options",
    "experience": "call_outcomes",
    "fleet": "registry",
    "flights": "singleflight",
    "fold": "dedup",
    "found": "discover",
    "go": "go_wire",
    "guard": "admin_auth",
    "incoming": "request",
    "intake": "body",
    "keeper": "membership",
    "keyfiles": "secrets",
    "leaving": "disconnect",
    "limit": "concurrency_limit",
    "line": "redis_connection, server_client",
    "loop": "aio",
    "orders": "admin_schemas",
    "outbox": "write_queue",
    "page": "ui",
    "pairs": "score_cache",
    "parallel": "aio",
    "patience": "stall_timeout",
    "probe": "prober",
    "reach": "connect",
    "reading": "vllm_responses",
    "records": "redis_codec",
    "remedies": "fixes",
    "reports": "admin_schemas",
    "schedule": "scheduler",
    "share": "fair_queue",
    "together": "validation",
    "tracing": "otel",
    "visit": "access_log",
    "weighing": "fingerprinter",
    "work": "types",
    "written": "static",
}
RETIRED_CLASSES = {
    "Budget": "RetryBudget",
    "Caller": "RequestContext",
    "Charge": "Reservation",
    "Company": "LoneRequest",
    "Dispatch": "Attempts",
    "Door": "AsgiApp",
    "Dropped": "ClosedMidResponse",
    "Engine": "Assembly",
    "Exam": "Options",
    "Experience": "CallOutcomes",
    "Fleet": "Registry",
    "Flight": "Computation",
    "Flights": "Singleflight",
    "Guard": "AdminAuth",
    "Incoming": "HttpRequest",
    "Intake": "BodyReader",
    "Keeper": "Membership",
    "Limit": "ConcurrencyLimit",
    "Line": "RedisConnection, ServerClient",
    "Order": "AdminBody",
    "Outbox": "WriteQueue",
    "OutOfTime": "DeadlineExceeded",
    "PairCache": "ScoreCache",
    "Patience": "StallTimeout",
    "Post": "Member",
    "Presence": "ClientConnection",
    "Probe": "Prober",
    "Refused": "ContentRejected",
    "Schedule": "Scheduler",
    "Seen": "Endpoints",
    "Stalled": "AttemptTimeout",
    "Tally": "RequestStats",
    "Unheard": "NotProbed",
    "Unseen": "DiscoveryError",
    "Vanished": "ClosedBeforeResponse",
    "Visit": "AccessRecord",
    "VisitLog": "AccessLog",
    "Weighing": "Fingerprinter",
    "Weights": "WeightNames",
    "Written": "StaticSource",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted((ROOT / "app").rglob("*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}


def imports(module: str) -> Iterator[str]:
    """Whatever a module imports, wherever in it: modules of ours by their own names, else what stands there."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports by dots in line {node.lineno}: write the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


ARROWS = {module: sorted({name for name in imports(module) if name in MODULES} - {module}) for module in MODULES}


def layer_of(module: str) -> int:
    """The number of a module's layer: that of its file or folder in `app/`."""
    place = ".".join(module.split(".")[:2])
    assert place in LAYERS, (
        f"{place} has no layer: put it into LAYERS, above all it imports and below all that import it"
    )
    return LAYERS.index(place)


def circles() -> list[list[str]]:
    """Every way from a module back to itself, one for each module that has one; the shortest."""
    found: list[list[str]] = []
    for start in ARROWS:
        ways, seen = [[start]], {start}
        while ways and not (found and found[-1][0] == start):
            way = ways.pop(0)
            for other in ARROWS[way[-1]]:
                if other == start:
                    found.append([*way, start])
                    break
                if other not in seen:
                    seen.add(other)
                    ways.append([*way, other])
    return found


def is_yet_to_be_cut(way: list[str]) -> bool:
    return any(f"{one} -> {other}" in YET_TO_BE_CUT for one, other in pairwise(way))


def test_imports_go_round_in_no_circle():
    left = [" -> ".join(way) for way in circles() if not is_yet_to_be_cut(way)]
    assert not left, "circles: hand one what it needs of the other, or move what both need below both:\n" + "\n".join(
        left
    )


def test_imports_go_down_only():
    upward = [
        f"{module} -> {other}"
        for module, others in ARROWS.items()
        for other in others
        if layer_of(other) > layer_of(module) and f"{module} -> {other}" not in YET_TO_BE_CUT
    ]
    assert not upward, "upward: have the upper one hand it down as an argument, or move it down:\n" + "\n".join(upward)


def test_every_layer_exists():
    assert [layer for layer in LAYERS if layer not in MODULES] == [], "take it out of LAYERS"


def test_arrows_that_were_cut_are_no_longer_excused():
    arrows = {f"{module} -> {other}" for module, others in ARROWS.items() for other in others}
    assert not YET_TO_BE_CUT - arrows, "take these out of YET_TO_BE_CUT"


def test_few_modules_stand_in_the_root():
    root = sorted(path.name for path in (ROOT / "app").glob("*.py"))
    assert len(root) <= MOST_MODULES_IN_ROOT, f"put what is new into the folder of its concept: {root}"


def test_policies_import_nothing_that_has_effects():
    impure = [
        f"{module} imports {name}"
        for module in MODULES
        if module.startswith("app.policy")
        for name in set(imports(module))
        if not name.startswith("app") and name.partition(".")[0] not in PURE
    ]
    # Chance is an argument; its type is all that is imported.
    random = {f"{module} imports random" for module in MODULES if imports_only_the_type_of_chance(module)}
    left = sorted(set(impure) - random)
    assert not left, f"a policy decides: `now` and `rng` are arguments, effects are for who asks it: {left}"


def imports_only_the_type_of_chance(module: str) -> bool:
    return all(
        [alias.name for alias in node.names] == ["Random"]
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.ImportFrom) and node.module == "random"
    ) and not any(
        alias.name == "random"
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Import)
        for alias in node.names
    )


def test_every_policy_has_its_tests():
    policies = {module.rpartition(".")[2] for module in MODULES if module.startswith("app.policy.")}
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "policy").glob("test_*.py")}
    assert policies <= tested, f"write tests/policy/test_*.py for these: {policies - tested}"


def test_no_two_modules_have_one_name():
    files = [path for path in MODULES.values() if path.stem not in MAY_REPEAT]
    twice = [
        f"{one.relative_to(ROOT)} and {other.relative_to(ROOT)}"
        for one, other in combinations(files, 2)
        if one.stem == other.stem and {one.parent.name, other.parent.name} != {"dialects", "workers"}
    ]
    assert not twice, "who looks for one finds the other: name each after what it alone is about:\n" + "\n".join(twice)


def test_retired_names_do_not_come_back():
    back = [
        f"{module}: it is {RETIRED[name]} now" for module in MODULES if (name := module.rpartition(".")[2]) in RETIRED
    ]
    for module, tree in TREES.items():
        classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        back += [
            f"{module}.{name}: it is {RETIRED_CLASSES[plain]} now"
            for name in classes
            if (plain := name.lstrip("_")) in RETIRED_CLASSES
        ]
    assert not back, "the words are those of docs/architecture.md:\n" + "\n".join(back)


@pytest.mark.parametrize("library", ["redis", "uvicorn"])
def test_a_library_whose_insides_are_used_is_bound_to_the_minor_version_that_was_tested(library: str):
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (requirement,) = (one for one in map(Requirement, written) if one.name == library)
    tested = Version(version(library))
    assert requirement.specifier.contains(tested)
    assert not requirement.specifier.contains(f"{tested.major}.{tested.minor + 1}"), (
        f"insides of {library} may change with any version: bound it in pyproject.toml below the next minor one, where "
        "a comment names the tests that fail when they do"
    )
