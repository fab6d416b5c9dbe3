"""Prints the verdicts of the short forms after all tests."""

import pytest

VERDICT = "verdict"
"""The property of a test's report that holds its verdict, which so comes back from whichever process ran it."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    texts = [
        str(text)
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, text in report.user_properties
        if name == VERDICT
    ]
    if texts:
        terminalreporter.section("verdicts")
    for text in texts:
        terminalreporter.write_line(text)
