"""Text of other people as chats may show it: one line that pings nobody and turns into no link, and links that open."""

import re
import string
from urllib.parse import quote, urlsplit

from relay.formats.truncate import truncate

MAX_TEXT = 3_000
"""UTF-16 units of a text, unless its place has less."""

_MAX_READ = 10_000
_BEYOND = 100
"""Characters after the limit, which tell what the last ones before it belong to: an address, a mention."""
_MAX_LINK = 2_048  # Discord's limit, the least of all receivers
_LINK = re.compile(r"https?://[^\s\x00-\x20\x7f<>\"`\\^{|}]+", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters except blanks, and characters that change the direction of the following text."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_MENTION_SIGN = r"(?!(?:(?<=\w)|(?<=\w[%+-]))@[\w-]+\.\w)@"
"""An @, unless it is that of an e-mail address: `jane@channel4.com` is no mention in any chat."""
_MENTIONS_AND_LINKS = re.compile(
    rf"<(?=[!@#]|users/|at\b|[a-z][a-z0-9+.-]*:)|{_MENTION_SIGN}(?=everyone|here|channel|all)|:(?=//)|\bwww(?=\.)"
    r"|\b(?:mailto|tel|sms|callto):",
    re.IGNORECASE,
)
"""Text that a chat may read as a mention or turn into a link. A word joiner after it, which is invisible, prevents it.
"""
WORD_JOINER = "\u2060"
"""Invisible, and without a width."""
_USER_MENTION = re.compile(rf"{_MENTION_SIGN}(?=\w)")
_EVERYONE = re.compile("@(?=everyone|here)", re.IGNORECASE)
_MENTION_MARKS = re.compile(r"[<>]|@+(?=everyone|here|channel|all)", re.IGNORECASE)


def sanitize(text: object, limit: int = MAX_TEXT) -> str | None:
    """Text of other people as one harmless line of at most `limit` UTF-16 units.

    None if the value is no text, or if nothing is left of it.
    """
    if not isinstance(text, str):
        return None
    line = _one_line(text)[: limit + _BEYOND]
    return truncate(_MENTIONS_AND_LINKS.sub(rf"\g<0>{WORD_JOINER}", line), limit) or None  # guard: inert-texts


def _one_line(text: str) -> str:
    """The text with single blanks, and without characters that are not to be seen."""
    part = text[:_MAX_READ]
    if not part.isprintable():  # a short cut: most texts have neither control characters nor surrogates
        part = _SURROGATES.sub("\ufffd", _CONTROLS.sub("", part))
    return " ".join(part.split())


def without_user_mentions(text: str) -> str:
    """`text` with a word joiner after each @ that a chat without markup would read as the beginning of a user's name.

    An e-mail address stays as it is.
    """
    return _USER_MENTION.sub(f"@{WORD_JOINER}", text)


def without_everyone(text: str) -> str:
    """`text` for a chat that reads @everyone and @here inside of an e-mail address too."""
    return _EVERYONE.sub(f"@{WORD_JOINER}", text)


def plain_value(text: str, limit: int = MAX_TEXT) -> str:
    """An id or an instant as one line of at most `limit` UTF-16 units: a mention's marks go, and nothing is added."""
    units = _MENTION_MARKS.sub("", _one_line(text)).encode("utf-16-le")
    return units[: 2 * limit].decode("utf-16-le", "ignore")


def link(url: object) -> str | None:
    """The URL if it can be opened, else None: http or https, with a host, and short enough for every chat.

    None if it has a user name, because the real host comes after it (`https://exec.com@evil.example/`). Letters beyond
    ASCII in its path are percent-encoded, because chats refuse a whole message for one odd URL.
    """
    if not isinstance(url, str) or len(url) > _MAX_LINK or not _LINK.fullmatch(url):
        return None
    try:
        parsed = urlsplit(url)
        encoded = quote(url, safe=string.punctuation)
        # guard: links-with-user-names
        usable = parsed.hostname and parsed.hostname.isascii() and parsed.port != 0 and "@" not in parsed.netloc
    except ValueError:
        return None
    return encoded if usable and len(encoded) <= _MAX_LINK else None
