"""Writes the log on a separate thread, so that code that logs never waits for the reader of the log.

A pipe that nobody reads holds 64 KiB; after that every write to it waits, and the event loop would wait too.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener

from relay.telemetry.log_format import LOGGER

MAX_LINES = 10_000
"""Maximum number of lines that wait to be written; at about 300 bytes each they are 3 MB."""

REPEATS = 10
"""How often one error is logged within a minute; further occurrences are counted."""

_WINDOW = 60.0
_REPORT_INTERVAL = 10.0
"""Seconds between two lines that report dropped lines."""

_LAST_LINES = 0.8
"""Seconds for writing the remaining lines when the process ends."""


@dataclass(slots=True)
class _Window:
    """A minute in which one error is logged."""

    began: float
    first: logging.LogRecord
    times: int = 1


class Repeats:
    """Lets each error pass ten times a minute, and counts further occurrences.

    Two errors are the same if the same statement logs them with the same kind of exception. `clock` gives monotonic
    seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, int, str, object], _Window] = {}
        self._lock = threading.Lock()

    def passes(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        if record.levelno < logging.ERROR:
            return True
        with self._lock:
            text = record.getMessage() if record.msg == "%s" else str(record.msg)
            key = record.pathname, record.lineno, text, record.exc_info and record.exc_info[0]
            window = self._windows.get(key)
            if window is None:
                self._windows[key] = _Window(self._clock(), record)
                return True
            window.times += 1
            return window.times <= REPEATS

    def ended(self, all: bool = False) -> list[logging.LogRecord]:
        """A line for each error with counted occurrences whose minute is over; with `all`, for every one."""
        with self._lock:
            now = self._clock()
            over = [key for key, window in self._windows.items() if all or now - window.began >= _WINDOW]
            windows = [self._windows.pop(key) for key in over]
        return [
            _line(logging.ERROR, "%d more times within a minute: %s", window.times - REPEATS, window.first.getMessage())
            for window in windows
            if window.times > REPEATS
        ]


class _Sender(QueueHandler):
    """Puts formatted lines into the queue, and counts the lines for which it has no room."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord | None]", repeats: Repeats) -> None:
        super().__init__(lines)
        self._lines, self._repeats = lines, repeats
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        for line in (*self._repeats.ended(), *([record] if self._repeats.passes(record) else [])):
            super().emit(line)

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self.dropped += 1  # a handler's lock is held


class LogThread(QueueListener):
    """Writes the lines of the queue with the log's original handler."""

    def __init__(self, handler: logging.Handler, max_lines: int, repeats: Repeats) -> None:
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(max_lines)
        self._repeats, self._quiet_until = repeats, 0.0
        self.sender = _Sender(self._lines, repeats)
        self.sender.setFormatter(handler.formatter)
        handler.setFormatter(None)  # lines from the queue are already formatted
        super().__init__(self._lines, handler)

    def handle(self, record: logging.LogRecord) -> None:
        super().handle(record)
        if self.sender.dropped and self._lines.empty() and time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _REPORT_INTERVAL
            with self.sender.lock or threading.Lock():
                dropped, self.sender.dropped = self.sender.dropped, 0
            text = "%d log lines were dropped because they could not be written fast enough"
            super().handle(self.sender.prepare(_line(logging.WARNING, text, dropped)))

    def close(self) -> bool:
        """Ends the thread once all lines are written; returns whether that took less than a second."""
        for line in self._repeats.ended(all=True):
            self.sender.emit(line)
        thread, self._thread = self._thread, None
        try:
            self._lines.put(None, timeout=_LAST_LINES / 2)  # the sentinel of QueueListener
        except queue.Full:
            return False
        if thread is not None:
            thread.join(_LAST_LINES / 2)
        return thread is None or not thread.is_alive()

    def leave(self, code: int) -> None:
        """Ends the process at once, after at most a second for the log."""
        self.close()
        os._exit(code)


def _line(level: int, text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(LOGGER, level, __file__, 0, text, arguments, None)


@contextmanager
def log_on_a_thread(max_lines: int = MAX_LINES) -> Iterator[LogThread]:
    """Makes a thread write what the root's handler would write, until the end.

    If the log can't be written by then, the process ends at once: a normal exit would wait for the same reader.
    """
    root = logging.getLogger()
    [handler] = root.handlers
    log = LogThread(handler, max_lines, Repeats())
    root.handlers[:] = [log.sender]
    log.start()
    code = 1
    try:
        yield log
        code = 0
    finally:
        if not log.close():
            os._exit(code)
        root.handlers[:] = [handler]
        handler.setFormatter(log.sender.formatter)
