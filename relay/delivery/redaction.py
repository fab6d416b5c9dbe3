"""Redacts responses: some receivers repeat the URL or the headers in their errors.

Everybody who may read deliveries sees responses, and must not learn from them how to post to somebody's chat.
"""

import html
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from relay.model import Endpoint

PLACEHOLDER = "…"
MIN_SECRET = 8
"""The fewest characters of a secret: a shorter part of a URL or of a header's value is a word."""
MIN_SECRET_PREFIX = 4
"""The fewest characters at the end of a cut response that are removed if a secret begins with them."""

_SEPARATORS = re.compile(r"[/?&=;,:.\s]+")
_CACHE_SIZE = 256
_PLACEHOLDER = PLACEHOLDER.encode()


def redact(response: bytes, endpoint: Endpoint, *, is_cut: bool = False) -> bytes:
    """The response with `…` for path and query of the URL, header values and signing secrets, in any usual spelling.

    If the response `is_cut`, an end that a secret begins with becomes `…` too.
    """
    if len(response) < MIN_SECRET_PREFIX:
        return response
    values = tuple(endpoint.headers.values())
    spellings, pattern = _secrets(endpoint.url, values, tuple(secret.value for secret in endpoint.secrets))
    if not spellings:
        return response
    response = pattern.sub(_PLACEHOLDER, response)  # guard: repeated-secrets
    return _without_cut_secret(response, spellings) if is_cut else response


def _without_cut_secret(response: bytes, spellings: tuple[bytes, ...]) -> bytes:
    """The response without the longest end that is the beginning of a secret."""
    end = response[-max(map(len, spellings)) :].lower()
    for start in range(len(end) - MIN_SECRET_PREFIX + 1):
        if any(secret.startswith(end[start:]) for secret in spellings):
            return response[: len(response) - len(end) + start] + _PLACEHOLDER
    return response


@lru_cache(maxsize=_CACHE_SIZE)
def _secrets(
    url: str, headers: tuple[str, ...], signing: tuple[str, ...]
) -> tuple[tuple[bytes, ...], re.Pattern[bytes]]:
    """All spellings of all secrets in lower case, and the pattern that matches them, the longest first."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    whole_values = [target, parts.path, parts.query, *headers]
    whole_values += [decode(value) for value in whole_values for decode in (unquote, unquote_plus)]
    keys = [text for secret in signing for text in (secret, secret.partition("_")[2])]
    pieces = [piece for value in whole_values for piece in _SEPARATORS.split(value)]
    texts = {text for text in (*pieces, *headers, *keys) if len(text) >= MIN_SECRET}
    texts |= {text for text in whole_values[:2] if len(text) > MIN_SECRET}
    spellings = {spelling.lower().encode() for text in texts for spelling in _spellings(text)}
    longest_first = tuple(sorted(spellings, key=lambda spelling: (-len(spelling), spelling)))
    return longest_first, re.compile(b"|".join(map(re.escape, longest_first)), re.IGNORECASE)


def _spellings(text: str) -> Iterable[str]:
    """The text as it is, percent-encoded as a path, as a component and as a form, in JSON and in HTML."""
    in_json = json.dumps(text)[1:-1]
    yield from (text, quote(text), quote(text, safe=""), quote_plus(text))
    yield from (in_json, in_json.replace("/", "\\/"), html.escape(text), html.escape(text).replace("/", "&#x2F;"))
