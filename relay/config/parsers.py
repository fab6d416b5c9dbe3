"""What people write into a configuration, read strictly. What is wrong is a ValueError that never holds the value."""

import json
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from relay import formats
from relay.config.source_map import KeyPath
from relay.egress import header_policy
from relay.egress.url_policy import EgressRules, validate_url
from relay.errors import ValidationFailed
from relay.formats import template as body_template
from relay.formats.template import InvalidTemplate
from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.signing import standard_webhooks
from relay.suggestions import did_you_mean

FORMAT_NAMES = ("auto", *formats.NAMES)
"""What `format` of an endpoint may be."""

_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_LONGEST_DURATION = 60
_SHORTEST_SECRET_KEY = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEY = re.compile(r"[\x21-\x7e]+")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*\]?")
_STORE = re.compile(r"sqlite:///.+|postgresql(\+psycopg)?://.+")
_ALLOW_ALL = EgressRules(allow_http=True, allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))


class NestedError(ValueError):
    """What is wrong stands further down: `place` leads there from the key."""

    def __init__(self, text: str, place: KeyPath) -> None:
        super().__init__(text)
        self.place = place


def duration(value: object) -> int:
    """`1h30m` → 5,400,000 ms. Raises ValueError for what has no unit."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0
    text = str(_given(value)).replace(" ", "")
    if isinstance(value, int | float) or re.fullmatch(r"[0-9.]+", text):
        raise ValueError("say which unit, such as 15s, 5m or 1h30m")
    if not isinstance(value, str) or len(text) > _LONGEST_DURATION or not _DURATION.fullmatch(text):
        raise ValueError("write a duration such as 500ms, 15s, 5m, 1h30m or 30d")
    return round(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))


def duration_between(low: str, high: str) -> Callable[[object], int]:
    """Reads a duration within bounds, into milliseconds."""
    least, most = duration(low), duration(high)

    def read(value: object) -> int:
        found = duration(value)
        if not least <= found <= most:
            raise ValueError(f"must be {low} to {high}")
        return found

    return read


def integer_between(low: int, high: int) -> Callable[[object], int]:
    """Reads a whole number within bounds."""

    def read(value: object) -> int:
        number = _given(value)
        if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
            return number
        raise ValueError(f"must be a whole number, {low:,} to {high:,}")

    return read


def list_of(least: int, most: int) -> Callable[[object], tuple[object, ...]]:
    """Reads a list within bounds; nothing at all is an empty one."""

    def read(value: object) -> tuple[object, ...]:
        entries = () if value is None else value
        if not isinstance(entries, list | tuple):
            raise ValueError("must be a list, such as [one, another]")
        if not least <= len(entries) <= most:
            bounds = f"{least:,} to {most:,}" if least else f"at most {most:,}"
            raise ValueError(f"must have {bounds} entries")
        return tuple(entries)

    return read


def share(value: object) -> float:
    """More than nothing, not more than all."""
    number = _given(value)
    if isinstance(number, int | float) and not isinstance(number, bool) and 0 < number <= 1:
        return float(number)
    raise ValueError("must be a number above 0 and at most 1, such as 0.8")


def boolean(value: object) -> bool:
    """True or false, and no number that means it."""
    if isinstance(_given(value), bool):
        return bool(value)
    raise ValueError("must be true or false")


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("has no value; write one, or leave the key out")
    return value


# --- text ------------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """Text on one line, at least a character of it."""
    found = _given(value)
    if not isinstance(found, str):
        raise ValueError("must be text; put it in quotes")
    if not found or not found.isprintable():
        raise ValueError("must not be empty, nor hold line breaks or other characters that can't be seen")
    return found


def name(value: object) -> str:
    """The name of a workspace or an endpoint."""
    if _NAME.fullmatch(found := text(value)):
        return found
    raise ValueError("must be 1 to 63 of a-z, 0-9, - and _, and begin with a letter or a digit")


def host(value: object) -> str:
    """Where to listen."""
    if _HOST.fullmatch(found := text(value)):
        return found
    raise ValueError("must be a host name or an address alone, such as 127.0.0.1; the port goes into server.port")


def url(value: object) -> str:
    """An http or https URL. Where it leads is not judged here, but when it is called."""
    found = text(value)
    if "@" in found.partition("://")[2].partition("/")[0]:
        raise ValueError("must hold no user name or password")
    try:
        validate_url(found, _ALLOW_ALL, "it")
    except ValidationFailed as error:
        if error.code != "blocked_address":
            raise ValueError(error.message.removeprefix("it ")) from None
    return found


def base_url(value: object) -> str:
    """A URL that paths are put behind."""
    found = url(value)
    if "?" in found or "#" in found:
        raise ValueError("must have no query and no fragment")
    return found.rstrip("/")


def store_url(value: object) -> str:
    """Where the relay keeps what it must not lose."""
    if _STORE.fullmatch(found := text(value)):
        return found
    raise ValueError("must start with sqlite:/// and name a file, or with postgresql://")  # guard: configuration-fault


def network(value: object) -> IPv4Network | IPv6Network:
    """A network, or one address."""
    try:
        return ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError("must be a network such as 10.0.0.0/8 or fd00::/8, or one address") from None


def format_name(value: object) -> str:
    """One of FORMAT_NAMES."""
    if (found := text(value)) in FORMAT_NAMES:
        return found
    raise ValueError(f"must be one of {', '.join(FORMAT_NAMES)}{did_you_mean(found, FORMAT_NAMES)}")


def headers(value: object) -> dict[str, str]:
    """Headers that may go with a notification."""
    if not isinstance(value, Mapping):
        raise ValueError("must be names and values, such as {x-team: sales}")
    if not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise ValueError("each name and value must be text; put numbers in quotes")
    try:
        header_policy.check_headers(value)
    except ValidationFailed as error:
        raise ValueError(error.message) from None
    return dict(value)


def template(value: object) -> dict[str, Any]:
    """A body with placeholders, as `relay.formats.template` takes it."""
    try:
        kept: dict[str, Any] = json.loads(body_template.check(value))
    except InvalidTemplate as error:
        raise NestedError(error.message, error.place) from None
    return kept


# --- secrets ---------------------------------------------------------------------------------------------------


def exec_key(value: object) -> str:
    """Exec's API key. Exec documents a form; whether it takes this one is for Exec to say."""
    if _KEY.fullmatch(found := text(value)):
        return found
    raise ValueError("must be the API key as Exec shows it: ASCII characters without spaces")


def signing_secret(value: object) -> str:
    """A secret as `relay.signing.standard_webhooks` takes it."""
    found = text(value)
    try:
        standard_webhooks.check_secret(found)
    except ValidationFailed as error:
        raise ValueError(error.message) from None
    return found


def secret_key(value: object) -> str:
    """What secrets in the store are sealed with: long enough that nobody finds it by trying."""
    if len(found := text(value)) >= _SHORTEST_SECRET_KEY:
        return found
    raise ValueError("must have at least 32 characters; make one with `relay keygen --secret`")


def api_key(value: object) -> str:
    """A key of the relay's own API: what fits into an Authorization header and can't be guessed."""
    if _KEY.fullmatch(found := text(value)) and 24 <= len(found) <= 512:
        return found
    raise ValueError("must have at least 24 ASCII characters and no spaces; make one with `relay keygen`")


def key_hash(value: object) -> str:
    """The hash of one."""
    if _HASH.fullmatch(found := text(value).lower()):
        return found
    raise ValueError("must be sha256: and 64 hexadecimal digits, as `relay keygen` prints it")
