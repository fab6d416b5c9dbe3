"""The log: lines of JSON or text, each with the ids of what it is about, none with a secret."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from relay.errors import RelayError
from relay.telemetry import trace_context

LOGGER = "relay"
_ABOUT = "about"


def log_fields(trace: str | None, **fields: str | int | None) -> dict[str, dict[str, str | int]]:
    """`extra` for a line that is part of a trace: its `trace_id`, and ids and numbers that are no secrets."""
    told = {"trace_id": trace_context.trace_id(trace), **fields}
    return {_ABOUT: {name: value for name, value in told.items() if value is not None}}


class TextFormatter(logging.Formatter):
    """Text, a line each, with the id of its trace.

    Of an error its kind and where it happened, and its words only where they are our own. Other errors may hold what
    they were about: a callback URL, a header, a row of the store.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        # Text of a request must not begin another line, nor control a terminal.
        record.message = escape_control_characters(record.message)  # guard: log-forging
        trace_id = getattr(record, _ABOUT, {}).get("trace_id")
        return super().formatMessage(record) + (f" trace_id={trace_id}" if trace_id else "")

    def formatException(self, ei: Any) -> str:
        return safe_traceback(ei[1])


def escape_control_characters(text: str) -> str:
    """Text for a terminal or a line of a log: what is not printable is escaped as in Python, `\\n` or `\\u202e`."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def safe_traceback(error: BaseException | None) -> str:
    """An error with those that it came of: the kind and place of each, and the words of our own."""
    lines = []
    while error is not None:
        name = type(error).__name__
        words = f"{name}: {error}" if isinstance(error, RelayError) else name  # guard: error-log
        lines.append("".join(traceback.format_tb(error.__traceback__)) + words)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nwhich came of\n".join(lines)


class JsonFormatter(TextFormatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, and what the line is about."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _ABOUT, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


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
    # `otel.py` tells what is to be told; the library's own words may quote the collector's address and what is in it.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
