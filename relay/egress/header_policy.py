"""The headers that an endpoint may add to its requests: RFC 9110 names, printable values, none that the relay sets."""

import re
from collections.abc import Mapping

from relay.errors import ValidationFailed

MAX_HEADERS = 20
NAME_PATTERN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}"
VALUE_PATTERN = r"[\x20-\x7e]{0,2000}"

_NAME = re.compile(NAME_PATTERN)
_VALUE = re.compile(VALUE_PATTERN)
_RESERVED_HEADERS = frozenset(
    """accept-encoding connection content-encoding content-length content-type cookie expect host keep-alive
    proxy-authorization proxy-connection te traceparent trailer transfer-encoding upgrade user-agent via""".split()
)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises ValidationFailed for headers that would change how a request is framed, signed or routed."""
    if len(headers) > MAX_HEADERS:
        raise ValidationFailed("invalid_headers", f"at most {MAX_HEADERS} headers", "headers")
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValidationFailed("invalid_headers", "a header's name is made of letters, digits and -", "headers")
        if name.lower() in _RESERVED_HEADERS or name.lower().startswith("webhook-"):
            raise ValidationFailed("invalid_headers", f"the relay sets {name.lower()} itself; leave it out", "headers")
        if not _VALUE.fullmatch(value):
            raise ValidationFailed(
                "invalid_headers", f"the value of {name} must be printable ASCII on one line", "headers"
            )
