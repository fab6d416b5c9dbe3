"""Verdicts of the short forms, printed once all tests are through."""

import pytest
from _pytest.terminal import TerminalReporter

from tests.torture.tortures import Judged, Torture

_KEPT = pytest.StashKey["Verdicts"]()


class Verdicts:
    """What came of the tortures of this run."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, torture: Torture, verdict: Judged) -> None:
        self.texts.append(verdict.text(f"{torture.what}, {torture.short} rounds"))


@pytest.fixture(scope="session")
def verdicts(pytestconfig: pytest.Config) -> Verdicts:
    return pytestconfig.stash.setdefault(_KEPT, Verdicts())


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    if (kept := config.stash.get(_KEPT, None)) is None:
        return
    terminalreporter.section("verdicts")
    for text in kept.texts:
        terminalreporter.write_line(text)
