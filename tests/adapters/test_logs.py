"""The log as it is set up: what it says of errors."""

import io
import json
import logging

import pytest

from relay.errors import StoreError
from relay.telemetry import LOGGER, set_up_logging
from tests import marked

EVERY_SECRET = " ".join(marked.ALL)


pytestmark = pytest.mark.usefixtures("logging_restored")


def fail(words: str) -> None:
    """An error of a library, met while another was handled, that became one of our own."""
    try:
        try:
            raise KeyError(words)
        except KeyError:
            raise ValueError(words)  # noqa: B904 (met while handling another is the point)
    except ValueError as error:
        raise StoreError("the disk is full; make room") from error


@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize("logger", [LOGGER, "apscheduler.executors.default"])
def test_an_error_is_logged_without_what_it_held(format: str, logger: str) -> None:
    """Kind and place of every error in the chain, our own words, and none of a library's: they may hold a secret."""
    stream = io.StringIO()
    set_up_logging(format, "info", stream)
    try:
        fail(EVERY_SECRET)
    except StoreError:
        logging.getLogger(logger).exception("it came to nothing")
    said = stream.getvalue()
    if format == "json":
        line = json.loads(said)
        assert (line["level"], line["message"]) == ("error", "it came to nothing")
    for told in ("StoreError: the disk is full; make room", "ValueError", "KeyError", "test_logs.py", "in fail"):
        assert told in said
    assert marked.found_in(said) == []


def test_the_levels_are_as_configured() -> None:
    """The relay's own lines from the level that is set, those of libraries from warnings on."""
    stream = io.StringIO()
    set_up_logging("text", "warning", stream)
    for name in (LOGGER, "httpx"):
        logging.getLogger(name).info("quiet")
        logging.getLogger(name).warning("loud")
    assert stream.getvalue().count("loud") == 2
    assert "quiet" not in stream.getvalue()
