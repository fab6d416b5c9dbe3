"""What a receiver says back, without the secrets it was sent: some repeat the URL or the headers in their errors.

Whoever may read deliveries sees answers, and must not learn from them how to post to somebody's chat.
"""

import re
from urllib.parse import unquote, urlsplit

from relay.model import Endpoint

PLACEHOLDER = "…"
SHORTEST = 8
"""Characters from which on a part of a URL or of a header's value may be a secret; shorter ones are words."""

_BETWEEN_PARTS = re.compile(r"[/?&=;,:.\s]+")


def redact(said: bytes, endpoint: Endpoint) -> bytes:
    """The bytes of an answer in which path and query of the URL, header values and signing secrets became `…`."""
    if len(said) < SHORTEST:  # as most are, and to find out what to hide costs as much as to sign
        return said
    for secret in _secrets(endpoint):
        said = said.replace(secret.encode(), PLACEHOLDER.encode())  # guard: repeated-secrets
    return said


def _secrets(endpoint: Endpoint) -> list[str]:
    """The longest first, so that none is left half."""
    parts = urlsplit(endpoint.url)
    asked = parts.path + (f"?{parts.query}" if parts.query else "")
    wholes = [asked, parts.path, parts.query, *endpoint.headers.values()]
    wholes += [unquote(whole) for whole in wholes]
    signing = [text for secret in endpoint.secrets for text in (secret.value, secret.value.partition("_")[2])]
    pieces = [piece for whole in wholes for piece in _BETWEEN_PARTS.split(whole)]
    found = {text for text in (*pieces, *endpoint.headers.values(), *signing) if len(text) >= SHORTEST}
    return sorted(found | {text for text in wholes[:2] if len(text) > SHORTEST}, key=len, reverse=True)
