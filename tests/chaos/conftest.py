"""The table of the chaos suite, at the end of pytest's output."""

import pytest

from tests.chaos.run import Row, table

_ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture(scope="session")
def chaos_rows(pytestconfig: pytest.Config) -> list[Row]:
    """Where tests leave their rows."""
    return pytestconfig.stash.setdefault(_ROWS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash.get(_ROWS, []):
        terminalreporter.section("chaos")
        terminalreporter.write_line(table(rows))
