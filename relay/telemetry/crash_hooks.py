"""Errors that nobody waits for: told in the log as every other one, their kind and their place.

By itself Python prints them with their words, and asyncio with the `repr` of whatever they happened in: both may hold a
callback URL or a row of the store.
"""

import asyncio
import logging
import re
import sys
import threading
from typing import Any

from relay.telemetry.log_format import LOGGER

_HELD = re.compile(r"[<'\"{]| \S+\(.*", re.DOTALL)
"""Where a text of asyncio's begins to hold what it is about."""


def install_crash_hooks(loop: asyncio.AbstractEventLoop) -> None:
    """From now on these errors are told so, in the whole process."""
    loop.set_exception_handler(on_loop_error)  # guard: unawaited-error
    threading.excepthook = on_thread_error
    sys.unraisablehook = on_unraisable


def on_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of a task that failed and that nobody asked, or of a callback."""
    words = _HELD.split(str(context.get("message", "")), maxsplit=1)[0].strip()
    logging.getLogger(LOGGER).error("%s", words or "an error that nobody waits for", exc_info=context.get("exception"))


def on_thread_error(what: threading.ExceptHookArgs) -> None:
    """Of a thread that ended by an error."""
    logging.getLogger(LOGGER).error("a thread ended by an error", exc_info=what.exc_value)


def on_unraisable(what: "sys.UnraisableHookArgs") -> None:
    """Of what went wrong where nothing can be raised, such as while something is thrown away."""
    logging.getLogger(LOGGER).error("an error where none can be raised", exc_info=what.exc_value)
