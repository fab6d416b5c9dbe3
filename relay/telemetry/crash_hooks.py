"""Hooks for errors that no code catches: the log gets them like any other error, with their kind and place.

By default Python prints them with their message, and asyncio with the `repr` of the objects involved: both may contain
a callback URL or a row of the store.
"""

import asyncio
import logging
import re
import sys
import threading
from typing import Any

from relay.telemetry.log_format import LOGGER

_QUOTED = re.compile(r"[<'\"{]| \S+\(.*", re.DOTALL)
"""Matches where a message of asyncio begins to quote an object."""


def install_crash_hooks(loop: asyncio.AbstractEventLoop) -> None:
    """Logs these errors from now on, in the whole process."""
    loop.set_exception_handler(on_loop_error)  # guard: unawaited-error
    threading.excepthook = on_thread_error
    sys.unraisablehook = on_unraisable


def on_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs the error of a task that nothing awaits, or of a callback."""
    text = _QUOTED.split(str(context.get("message", "")), maxsplit=1)[0].strip()
    logging.getLogger(LOGGER).error("%s", text or "an error in a background task", exc_info=context.get("exception"))


def on_thread_error(hook: threading.ExceptHookArgs) -> None:
    """Logs the error that ended a thread."""
    logging.getLogger(LOGGER).error("an error ended a thread", exc_info=hook.exc_value)


def on_unraisable(hook: "sys.UnraisableHookArgs") -> None:
    """Logs an error that Python can't raise, such as one in a destructor."""
    logging.getLogger(LOGGER).error("an error that could not be raised", exc_info=hook.exc_value)
