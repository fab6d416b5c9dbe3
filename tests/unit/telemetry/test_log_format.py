"""Lines of the log as text."""

import logging

import pytest

from relay.telemetry.log_format import TextFormatter, escape_control_characters


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain text, ä and 漢", "plain text, ä and 漢"),
        ("a\nb\r\nc\td", "a\\nb\\r\\nc\\td"),
        ("\x1b[31m\x9b\x7f", "\\x1b[31m\\x9b\\x7f"),
        ("\u202e\u2028\ud800", "\\u202e\\u2028\\ud800"),
    ],
)
def test_control_characters_are_escaped(text: str, escaped: str) -> None:
    """Text that the relay did not write itself begins no line and controls no terminal."""
    assert escape_control_characters(text) == escaped


def test_a_log_entry_is_one_line() -> None:
    """Whatever its arguments hold."""
    record = logging.LogRecord("relay", logging.INFO, "x.py", 1, "client %s", ("a\n2026 FORGED\x1b[0m",), None)
    assert TextFormatter("%(levelname)s %(message)s").format(record) == "INFO client a\\n2026 FORGED\\x1b[0m"
