"""The log on a thread of its own: nobody waits for who reads it, and no error fills it."""

import io
import logging
import os
import threading
from contextlib import suppress

import pytest

from relay.telemetry import LOGGER, log_on_a_thread, set_up_logging
from relay.telemetry.log_thread import LogThread, Repeats

pytestmark = pytest.mark.usefixtures("logging_restored")

LOG = logging.getLogger(LOGGER)


def test_lines_are_written_in_their_order_and_format() -> None:
    """All of them, by the end of the block, errors with their place."""
    stream = io.StringIO()
    set_up_logging("text", "info", stream)
    with log_on_a_thread():
        for number in range(1_000):
            LOG.info("line %d", number)
        try:
            raise KeyError("hidden")
        except KeyError:
            LOG.exception("it failed")
    lines = stream.getvalue().splitlines()
    assert [line.split("line ")[1] for line in lines[:1_000]] == [str(number) for number in range(1_000)]
    assert "ERROR   it failed" in lines[1_000]
    assert lines[-1] == "KeyError"
    LOG.info("afterwards")
    assert "afterwards" in stream.getvalue()


def test_an_unread_log_delays_nothing() -> None:
    """Lines that do not fit are counted; one line reports their number when the log is read again."""
    read, write = os.pipe()
    with os.fdopen(write, "w", buffering=1) as pipe, os.fdopen(read) as reader:
        set_up_logging("text", "info", pipe)
        full = b"x" * 65_535 + b"\n"
        os.write(write, full)
        with log_on_a_thread(max_lines=100):
            for number in range(5_000):
                LOG.info("line %d", number)
            said: list[str] = []
            done = threading.Event()

            def reads() -> None:
                for line in reader:
                    said.append(line)
                    if "were dropped" in line:
                        done.set()

            thread = threading.Thread(target=reads, daemon=True)
            thread.start()
            assert done.wait(10)
        pipe.close()
        thread.join(10)
    reports = [line for line in said if "were dropped" in line]
    assert len(reports) == 1
    dropped = int(reports[0].split("WARNING ")[1].split()[0])
    assert dropped + len(said) - 2 == 5_000  # the line that filled the pipe, and the one that says so


def test_closing_an_unread_log_does_not_wait_for_a_reader() -> None:
    """It takes about a second. It reports that lines are left. A later reader gets them, and the thread ends."""
    read, write = os.pipe()
    with os.fdopen(write, "w", buffering=1) as pipe, os.fdopen(read) as reader:
        os.write(write, b"x" * 65_535 + b"\n")
        handler = logging.StreamHandler(pipe)
        log = LogThread(handler, 100, Repeats())
        log.start()
        writes = log._thread
        assert writes is not None
        for number in range(3):
            log.sender.handle(a_failure("line %d", number))
        assert not log.close()
        said = [reader.readline() for _ in range(4)]
        writes.join(30)
        assert not writes.is_alive()
    assert [line.strip() for line in said[1:]] == ["line 0", "line 1", "line 2"]


def test_a_log_whose_reader_is_gone_loses_lines_and_nothing_else() -> None:
    """The thread goes on, and the block ends as ever."""
    read, write = os.pipe()
    with suppress(BrokenPipeError), os.fdopen(write, "w", buffering=1) as pipe:
        os.close(read)
        log = LogThread(logging.StreamHandler(pipe), 100, Repeats())
        log.start()
        for number in range(3):
            log.sender.handle(a_failure("line %d", number))
        assert log.close()
    assert log.sender.dropped > 0


def a_failure(text: str, *words: object) -> logging.LogRecord:
    return logging.LogRecord(LOGGER, logging.ERROR, "store.py", 7, text, words, None)


def test_an_error_is_written_ten_times_a_minute() -> None:
    """Whatever it is about; then how many more there were. Other errors, and what is no error, are as before."""
    now = [0.0]
    repeats = Repeats(lambda: now[0])
    assert sum(repeats.passes(a_failure("job %s is not written", number)) for number in range(5_000)) == 10
    assert repeats.passes(a_failure("another"))
    info = logging.makeLogRecord({"levelno": logging.INFO, "msg": "registered"})
    assert all(repeats.passes(info) for _ in range(5_000))
    assert repeats.ended() == []
    now[0] = 61.0
    assert [line.getMessage() for line in repeats.ended()] == ["4990 more times within a minute: job 0 is not written"]
    assert repeats.ended(all=True) == []
    assert repeats.passes(a_failure("job %s is not written", 1))


def test_different_asyncio_errors_are_counted_separately() -> None:
    """One statement logs all errors of asyncio."""
    repeats = Repeats(lambda: 0.0)
    for words in ("socket.accept() out of system resource", "Task exception was never retrieved"):
        assert sum(repeats.passes(a_failure("%s", words)) for _ in range(100)) == 10
