"""The limit of file descriptors: each connection needs one."""

import resource


def raise_to_hard_limit() -> int:
    """Raises this process's limit as far as it may without privileges. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return current()


def current() -> int:
    """How many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


_MAX_DESCRIPTORS = 1_048_576
"""More than any relay needs. Some systems refuse more, or "unlimited"."""
