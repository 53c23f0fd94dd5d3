"""The tests themselves: each stands where one looks for it, and none reaches into the code it is about."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
APP, TESTS = ROOT / "app", ROOT / "tests"
# Folders that have no counterpart in `app/`: what their tests have in common is how they test, not what.
KINDS = {
    "chaos": "the command as a process of its own, while workers, networks and clients break",
    "clients": "clients as users have them: pymilvus, Go, Cohere's and others",
    "contract": "the answers that vLLM, Cohere, Jina and others give, recorded",
    "integration": "a whole gateway over real sockets",
    "live": "real vLLM workers",
    "page": "the page in a browser",
    "release": "the wheel as it is installed",
    "security": "the whole gateway against those who mean it harm",
    "simulation": "the whole engine under seeded chance",
}
# Files beside the folders that are about no module in the root of `app/`, but about the repository.
ABOUT = {
    "architecture": "the import graph of app/",
    "awake": "tests/awake.py",
    "bench": "bench/",
    "docs": "docs/",
    "monitoring": "deploy/",
    "tests": "tests/",
}
# Tests that reach into `app/` by design.
BREAKS_INSIDES = {
    "simulation/faults": "plants faults in the middle of the code, to see that the simulation notices them",
}
COUNTS_OBJECTS = {
    "simulation/sizes.py": "counts all that a process holds, whatever it is called",
}
# A NamedTuple has these for everybody.
PUBLIC = {"_replace", "_asdict", "_fields"}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def files_but(excused: dict[str, str]) -> Iterator[tuple[str, ast.Module]]:
    """Every file of `tests/` with its path, but for those that are excused, or whose folder is."""
    for path in sorted(TESTS.rglob("*.py")):
        name = path.relative_to(TESTS)
        if excused.keys().isdisjoint(map(str, (name, *name.parents))):
            yield str(name), tree_of(path)


def private_names(tree: ast.AST) -> set[str]:
    """Attributes, functions, classes and constants with one underscore that a module has."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr if is_own(node.value) else "")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
    return {name for name in names if is_private(name)} - PUBLIC


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def is_own(value: ast.expr) -> bool:
    """True for what is read of the class it stands in: `self._x`, `cls._x`, `super()._x`."""
    return ast.unparse(value) in {"self", "cls", "super()"}


def insides_read_by(tree: ast.AST, private: set[str]) -> Iterator[tuple[int, str]]:
    """Every place that reads, imports or patches something private of `app/`: its line, and what it reads."""
    # What a file's own classes have, they have among themselves.
    private = private - private_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in private and not is_own(node.value):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "app":
            yield from ((node.lineno, alias.name) for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("attr", "patch.object")):
            words = [one.value for one in node.args if isinstance(one, ast.Constant)]
            yield from ((node.lineno, str(word)) for word in words if word in private)


def test_no_test_reads_what_is_private_to_the_code():
    private = set().union(*(private_names(tree_of(path)) for path in APP.rglob("*.py")))
    read = [
        f"{name}:{line} reads {what}"
        for name, tree in files_but(BREAKS_INSIDES)
        for line, what in insides_read_by(tree, private)
    ]
    assert not read, "test what others can see, or make public what is worth being seen:\n" + "\n".join(read)


def test_no_test_looks_for_objects_in_the_garbage_collector():
    searched = [
        name
        for name, tree in files_but(COUNTS_OBJECTS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"get_objects", "get_referrers", "get_referents"}
    ]
    assert not searched, f"keep a weak reference to what has to go, and see that it is gone: {searched}"


def test_who_is_excused_exists():
    assert [name for name in (*BREAKS_INSIDES, *COUNTS_OBJECTS, *KINDS) if not (TESTS / name).exists()] == []


def test_tests_stand_where_their_modules_do():
    """`tests/x/test_y.py`, or `test_y_subject.py`, is about `app/x/y.py` or the folder `app/x/y/`."""
    tests = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("test_*.py"))]
    lost = [str(path) for path in tests if path.parts[0] not in KINDS and not is_about_a_module(path)]
    assert not lost, (
        "these are about no module of app/ in the folder of that name: rename or move them; "
        f"elsewhere stand only tests of a kind that KINDS lists: {lost}"
    )


def is_about_a_module(test: Path) -> bool:
    folder = APP / test.parent
    names = {one.stem for one in folder.iterdir()} if folder.is_dir() else set()
    names |= ABOUT.keys() if folder == APP else set()
    words = test.stem.removeprefix("test_").split("_")
    return any("_".join(words[: length + 1]) in names for length in range(len(words)))


def test_what_the_list_of_mutants_names_exists():
    """In its tables: places in `app/policy`, and tests."""
    rows = [line for line in (TESTS / "policy" / "MUTANTS.md").read_text().splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(\w[\w/]*[._/]\w+(?:\.\w+)*)`", row)}
    paths = {name for name in named if name.startswith("tests/")}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    for name in sorted(named - paths):
        module, _, what = name.partition(".")
        path = APP / "policy" / f"{module}.py"
        assert path.exists(), f"{name}: there is no such policy"
        assert what in path.read_text(), f"{name}: {module} has no {what}"
