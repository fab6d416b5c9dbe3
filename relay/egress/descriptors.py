"""File descriptors: whether it was for want of them that something failed, which is the relay's own trouble."""

import errno

NONE_LEFT = "the relay has no file descriptor left; raise its limit (`ulimit -n`, LimitNOFILE=)"

_CODES = frozenset({errno.EMFILE, errno.ENFILE})


def are_used_up(error: BaseException | None) -> bool:
    """Whether an error, or one of those that it came of, says that no descriptor is left."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            return any(are_used_up(one) for one in error.exceptions)
        if isinstance(error, OSError) and error.errno in _CODES:
            return True
        if are_used_up(getattr(error, "os_error", None)):  # aiohttp's
            return True
        error = error.__cause__ or error.__context__
    return False
