"""Stopping: a signal ends the process in every phase, and within ten seconds."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable

from relay.telemetry import LOGGER

LONGEST_STOP = 9.0
"""Seconds from the signal to the end of the process: container engines kill after ten."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_at_once_when_asked() -> None:
    """From now on a signal ends the process as it is: nothing is begun yet.

    A handler and not the system's default, which the first process of a container does not have.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda caught, _: os._exit(128 + caught))


def stop_when_asked(stop: Callable[[], None], leave: Callable[[int], None]) -> Callable[[], int]:
    """From now on a signal calls `stop`, once; nine seconds later `leave`, if the process is still there.

    The deadline is a thread's: it holds too when the event loop has ended and threads that hang are waited for.
    Returns what gives the milliseconds since the signal; 0 before.
    """
    loop = asyncio.get_running_loop()
    asked_at: float | None = None

    def heed() -> None:
        nonlocal asked_at
        if asked_at is None:
            asked_at = loop.time()
            deadline = threading.Timer(LONGEST_STOP, _give_up, [leave])
            deadline.daemon = True
            deadline.start()
            stop()

    for number in _SIGNALS:
        loop.add_signal_handler(number, heed)
    return lambda: 0 if asked_at is None else round((loop.time() - asked_at) * 1_000)


def _give_up(leave: Callable[[int], None]) -> None:
    text = "the relay could not stop within %g s and leaves; what it holds leases of is due when they run out"
    logging.getLogger(LOGGER).error(text, LONGEST_STOP)
    leave(1)
