"""The log's format: lines of JSON or text, with the ids of the objects they are about, and without secrets."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

from relay.errors import RelayError
from relay.telemetry import trace_context

LOGGER = "relay"
_FIELDS = "about"
_encode = json.JSONEncoder(ensure_ascii=False).encode


def log_fields(trace: str | None, **fields: str | int | None) -> dict[str, dict[str, str | int]]:
    """`extra` for a line that belongs to a trace: its `trace_id`, and ids and numbers that are not secret."""
    all_fields = {"trace_id": trace_context.trace_id(trace), **fields}
    return {_FIELDS: {name: value for name, value in all_fields.items() if value is not None}}


class TextFormatter(logging.Formatter):
    """One line of text per entry, with the id of its trace.

    An error is written with its kind and place. Its message is written only if it is one of the relay's own errors:
    other messages may contain a callback URL, a header or a row of the store.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        # Text of a request must not begin another line, nor control a terminal.
        record.message = escape_control_characters(record.message)  # guard: log-forging
        trace_id = getattr(record, _FIELDS, {}).get("trace_id")
        return super().formatMessage(record) + (f" trace_id={trace_id}" if trace_id else "")

    def formatException(self, ei: Any) -> str:
        return safe_traceback(ei[1])


def escape_control_characters(text: str) -> str:
    """Text for a terminal or a line of a log: unprintable characters are escaped as in Python, `\\n` or `\\u202e`."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def safe_traceback(error: BaseException | None) -> str:
    """An error with its causes: the kind and place of each, and the message of the relay's own errors."""
    lines = []
    while error is not None:
        name = type(error).__name__
        description = f"{name}: {error}" if isinstance(error, RelayError) else name  # guard: error-log
        lines.append("".join(traceback.format_tb(error.__traceback__)) + description)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by\n".join(lines)


class JsonFormatter(TextFormatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, and the line's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03}+00:00",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


@lru_cache(1)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()[:19]


def set_up_logging(format: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Sends the relay's and its libraries' logs to `stream`, as `json` lines or `text`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter() if format == "json" else TextFormatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level.upper())
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line names them
    # `otel_spans.py` logs failures; the library's own messages may quote the collector's address and its credentials.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
