"""Writes the log on a separate thread, so that code that logs never waits for the reader of the log.

A pipe that nobody reads holds 64 KiB; after that every write to it waits, and the event loop would wait too.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO, cast

from relay.telemetry.log_format import LOGGER

MAX_LINES = 10_000
"""Maximum number of lines that wait to be written; at about 300 bytes each they are 3 MB."""

REPEATS = 10
"""How often one error is logged within a minute; further occurrences are counted."""

_WINDOW = 60.0
_REPORT_INTERVAL = 10.0
"""Seconds between two lines that report dropped lines."""

_GATHERED = 0.01
"""Seconds for which lines are gathered: to wake the thread costs more than to write a line."""
_TOGETHER = 100
"""Lines that are written at once at most."""

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
        if not self._windows:
            return []
        with self._lock:
            now = self._clock()
            over = [key for key, window in self._windows.items() if all or now - window.began >= _WINDOW]
            windows = [self._windows.pop(key) for key in over]
        return [
            _line(logging.ERROR, "%d more times within a minute: %s", window.times - REPEATS, window.first.getMessage())
            for window in windows
            if window.times > REPEATS
        ]


class _Sender(logging.Handler):
    """Formats lines and keeps them until they are written; counts the lines for which it has no room."""

    def __init__(self, max_lines: int, repeats: Repeats) -> None:
        super().__init__()
        self._max_lines, self._repeats = max_lines, repeats
        self.lines: deque[str] = deque()
        self.has_lines = threading.Event()
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        for line in (*self._repeats.ended(), *([record] if self._repeats.passes(record) else [])):
            if len(self.lines) >= self._max_lines:
                self.dropped += 1  # the handler's lock is held
                continue
            try:
                self.lines.append(f"{self.format(line)}\n")
            except Exception:
                self.handleError(line)
        if not self.has_lines.is_set():
            self.has_lines.set()

    def take_report(self) -> str:
        """The line that reports the dropped lines, which are then forgotten."""
        with self.lock or threading.Lock():
            dropped, self.dropped = self.dropped, 0
        text = "%d log lines were dropped because they could not be written fast enough"
        return f"{self.format(_line(logging.WARNING, text, dropped))}\n"


class LogThread:
    """Writes the lines to the stream of the log's original handler."""

    def __init__(self, handler: logging.Handler, max_lines: int, repeats: Repeats) -> None:
        self._stream: TextIO = cast("logging.StreamHandler[TextIO]", handler).stream
        self._repeats, self._quiet_until = repeats, 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self.sender = _Sender(max_lines, repeats)
        self.sender.setFormatter(handler.formatter)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def _write(self) -> None:
        """Writes lines until `close`, those of some milliseconds at once."""
        sender = self.sender
        while sender.lines or not self._ends.is_set():
            sender.has_lines.wait()
            self._ends.wait(_GATHERED)
            sender.has_lines.clear()
            while sender.lines:
                self._write_together([sender.lines.popleft() for _ in range(min(len(sender.lines), _TOGETHER))])
            if sender.dropped and time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + _REPORT_INTERVAL
                self._write_together([sender.take_report()])

    def _write_together(self, lines: Sequence[str]) -> None:
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except (OSError, ValueError):  # its reader is gone, or the disk is full
            self.sender.dropped += len(lines)

    def close(self) -> bool:
        """Ends the thread once all lines are written; returns whether that took less than a second."""
        for line in self._repeats.ended(all=True):
            self.sender.emit(line)
        self._ends.set()
        self.sender.has_lines.set()
        self._thread.join(_LAST_LINES)
        return not self._thread.is_alive()

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
