"""Stopping: a signal ends the process in every phase, within ten seconds."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable

from relay.telemetry import LOGGER

STOP_TIMEOUT = 9.0
"""Seconds from the signal to the end of the process. Container engines kill it after ten."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_at_once_when_asked() -> None:
    """From now on a signal ends the process immediately: no work has started yet.

    A handler, because the first process of a container has no default action for signals.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received_signal, _: os._exit(128 + received_signal))


def stop_when_asked(
    stop: Callable[[], None],
    leave: Callable[[int], None],
    drain: Callable[[], None] = lambda: None,
    drain_for: float = 0,
) -> Callable[[], int]:
    """From now on the first signal calls `drain`, and `drain_for` seconds later, or at a second signal, `stop`; and
    `leave` nine seconds after that if the process still runs.

    A thread keeps the deadline, so that it also applies when the event loop has ended and waits for hanging threads.
    Returns a function that returns the milliseconds since `stop` was called; 0 before it.
    """
    loop = asyncio.get_running_loop()
    stopped_at: float | None = None
    is_draining = False

    def begin_stop() -> None:
        nonlocal stopped_at
        if stopped_at is None:
            stopped_at = loop.time()
            deadline = threading.Timer(STOP_TIMEOUT, _give_up, [leave])
            deadline.daemon = True
            deadline.start()
            stop()

    def on_signal() -> None:
        nonlocal is_draining
        if is_draining or not drain_for:
            begin_stop()
        else:
            is_draining = True
            loop.call_later(drain_for, begin_stop)
        drain()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    return lambda: 0 if stopped_at is None else round((loop.time() - stopped_at) * 1_000)


def _give_up(leave: Callable[[int], None]) -> None:
    text = "the relay could not stop within %g s and exits; its leased deliveries and polls are due when the leases end"
    logging.getLogger(LOGGER).error(text, STOP_TIMEOUT)
    leave(1)
