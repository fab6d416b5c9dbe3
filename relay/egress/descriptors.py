"""Recognises failures for lack of a file descriptor: they are the relay's own problem, not the receiver's or Exec's."""

import errno

NONE_LEFT = "the relay has no file descriptor left; raise its limit (`ulimit -n`, LimitNOFILE=)"

_CODES = frozenset({errno.EMFILE, errno.ENFILE})


def are_used_up(error: BaseException | None) -> bool:
    """Whether an error, or a cause of it, says that no file descriptor is left."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            return any(are_used_up(member) for member in error.exceptions)
        if isinstance(error, OSError) and error.errno in _CODES:
            return True
        if are_used_up(getattr(error, "os_error", None)):  # aiohttp's
            return True
        error = error.__cause__ or error.__context__
    return False
