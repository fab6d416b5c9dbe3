"""The log as it is set up: what it says of errors."""

import asyncio
import gc
import io
import json
import logging
import threading
from typing import Any

import pytest

from relay.errors import StoreError
from relay.telemetry import LOGGER, crash_hooks, install_crash_hooks, set_up_logging
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
def test_an_error_is_logged_without_values(format: str, logger: str) -> None:
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
    for text in ("StoreError: the disk is full; make room", "ValueError", "KeyError", "test_log_format.py", "in fail"):
        assert text in said
    assert marked.found_in(said) == []


def test_log_levels_are_as_configured() -> None:
    """The relay's lines from the configured level, those of libraries from warnings on."""
    stream = io.StringIO()
    set_up_logging("text", "warning", stream)
    for name in (LOGGER, "httpx"):
        logging.getLogger(name).info("quiet")
        logging.getLogger(name).warning("loud")
    assert stream.getvalue().count("loud") == 2
    assert "quiet" not in stream.getvalue()


async def failing(secret: str) -> None:
    raise RuntimeError(secret)


class Brittle:
    """Whose end is an error."""

    def __del__(self) -> None:
        raise ValueError(EVERY_SECRET)


def a_task_that_nobody_asks(loop: asyncio.AbstractEventLoop) -> None:
    loop.create_task(failing(EVERY_SECRET), name=f"task {EVERY_SECRET}")


def a_callback(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(fail, EVERY_SECRET)


def a_thread(_: asyncio.AbstractEventLoop) -> None:
    thread = threading.Thread(target=fail, args=(EVERY_SECRET,), name=f"thread {EVERY_SECRET}")
    thread.start()
    thread.join()


def a_thing_thrown_away(_: asyncio.AbstractEventLoop) -> None:
    Brittle()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (a_task_that_nobody_asks, ("Task exception was never retrieved", "RuntimeError", "in failing")),
        (a_callback, ("Exception in callback", "StoreError: the disk is full", "in fail")),
        (a_thread, ("an error ended a thread", "StoreError: the disk is full", "in fail")),
        (a_thing_thrown_away, ("an error that could not be raised", "ValueError", "in __del__")),
    ],
)
def test_an_uncaught_error_is_logged_without_secrets(fault: Any, expected: tuple[str, ...]) -> None:
    """The log gets its kind and place, but not its message, and no object involved."""
    stream = io.StringIO()
    set_up_logging("text", "info", stream)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        install_crash_hooks(loop)
        fault(loop)
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()

    asyncio.run(main())
    log = stream.getvalue()
    assert [text for text in expected if text not in log] == [], log
    assert marked.found_in(log) == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Task was destroyed but it is pending!", "Task was destroyed but it is pending!"),
        ("Exception in callback <bound method X.y of X('https://secret')>", "Exception in callback"),
        ("Exception in callback X.send('https://secret')()", "Exception in callback"),
        ("an error occurred during closing of asynchronous generator {'https://secret'}", "asynchronous generator"),
        ("", "an error in a background task"),
    ],
)
async def test_asyncio_s_message_is_cut_before_it_quotes_an_object(
    message: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log gets the message up to the first quoted object."""
    crash_hooks.on_loop_error(asyncio.get_running_loop(), {"message": message})
    assert expected in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("format", ["json", "text"])
def test_text_of_a_request_starts_no_line_of_the_log(format: str) -> None:
    """A line break or an escape sequence in a value stays within its line, as an escaped character."""
    stream = io.StringIO()
    set_up_logging(format, "info", stream)
    logging.getLogger(LOGGER).info("job %s is registered", "j1\n2026-01-01 ERROR relay forged\x1b[2J")
    [line] = stream.getvalue().splitlines()
    assert "forged" in line
    assert "\x1b" not in line
