"""Parsers of single configuration values. They raise ValueError with what to write instead, never with the value."""

import json
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from relay import formats
from relay.config.source_map import KeyPath
from relay.egress import EgressRules, header_policy, validate_url
from relay.egress.mail_url import is_mail_url, validate_mail_url
from relay.errors import ValidationFailed
from relay.formats import template as body_template
from relay.formats.template import InvalidTemplate
from relay.model import DAY, HOUR, MINUTE, PULL_URL, SECOND, parse_digest, parse_quiet_hours
from relay.signing import standard_webhooks
from relay.suggestions import did_you_mean

FORMAT_NAMES = ("auto", *formats.NAMES)
"""The values of an endpoint's `format`."""

_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_MAX_DURATION_LENGTH = 60
_MAX_PORT = 65_535
_MIN_SECRET_KEY_LENGTH = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEY = re.compile(r"[\x21-\x7e]+")
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What an Authorization header can hold (RFC 6750)."""
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*\]?")
_STORE = re.compile(r"sqlite:///.+|postgresql(\+psycopg)?://.+")
_DATABASE_URL = re.compile(
    r"[a-z+]+://(?:[^:/@?]*(?::[^@]*)?@)?(?:[A-Za-z0-9._%-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?=[/?]|$)"
)
_ONE_HOST = r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?"
_SEVERAL_HOSTS = re.compile(
    rf"(?P<before>postgresql(?:\+psycopg)?://(?:[^@]*@)?)(?P<hosts>{_ONE_HOST}(?:,{_ONE_HOST})+)"
    r"(?P<database>/[^?]*)?(?:\?(?P<query>.*))?"
)
_PROXY = re.compile(r"https?://(?:[^/?#@]*@)?(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?")
_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019"}
_UNFILLED = re.compile(r"\$\{[^}]*\}|\$[A-Z_][A-Z0-9_]*")
_NO_LOGIN_HEADERS = frozenset(
    "authorization cookie forwarded host origin referer user-agent via x-forwarded-host x-real-ip x-request-id".split()
)
_ALLOW_ALL = EgressRules(allow_http=True, allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))


class NestedError(ValueError):
    """A fault below the key; `path` leads from the key to the fault."""

    def __init__(self, text: str, path: KeyPath) -> None:
        super().__init__(text)
        self.path = path


def duration(value: object) -> int:
    """`1h30m` → 5,400,000 ms. Raises ValueError if a unit is missing."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0
    text = str(_not_null(value)).replace(" ", "")
    if isinstance(value, int | float) or re.fullmatch(r"[0-9.]+", text):
        raise ValueError("say which unit, such as 15s, 5m or 1h30m")
    if not isinstance(value, str) or len(text) > _MAX_DURATION_LENGTH or not _DURATION.fullmatch(text):
        raise ValueError("write a duration such as 500ms, 15s, 5m, 1h30m or 30d")
    return round(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))


def duration_between(low: str, high: str) -> Callable[[object], int]:
    """A parser of durations within bounds, in milliseconds."""
    low_ms, high_ms = duration(low), duration(high)

    def read(value: object) -> int:
        milliseconds = duration(value)
        if not low_ms <= milliseconds <= high_ms:
            raise ValueError(f"must be {low} to {high}")
        return milliseconds

    return read


def integer_between(low: int, high: int) -> Callable[[object], int]:
    """A parser of whole numbers within bounds."""

    def read(value: object) -> int:
        number = _not_null(value)
        if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
            return number
        raise ValueError(f"must be a whole number, {low:,} to {high:,}")

    return read


def list_of(shortest: int, longest: int) -> Callable[[object], tuple[object, ...]]:
    """A parser of lists within bounds. Null is an empty list."""

    def read(value: object) -> tuple[object, ...]:
        entries = () if value is None else value
        if not isinstance(entries, list | tuple):
            raise ValueError("must be a list, such as [one, another]")
        if not shortest <= len(entries) <= longest:
            bounds = f"{shortest:,} to {longest:,}" if shortest else f"at most {longest:,}"
            raise ValueError(f"must have {bounds} entries")
        return tuple(entries)

    return read


def share(value: object) -> float:
    """A number above 0 and at most 1."""
    number = _not_null(value)
    if isinstance(number, int | float) and not isinstance(number, bool) and 0 < number <= 1:
        return float(number)
    raise ValueError("must be a number above 0 and at most 1, such as 0.8")


def boolean(value: object) -> bool:
    """True or false. Numbers and words such as `yes` are refused."""
    if isinstance(_not_null(value), bool):
        return bool(value)
    raise ValueError("must be true or false")


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("has no value; write one, or leave the key out")
    return value


# --- text ------------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """Text on one line, not empty, without the shell's syntax around it."""
    value_text = _not_null(value)
    if not isinstance(value_text, str):
        raise ValueError("must be text; put it in quotes")
    if not value_text or not value_text.isprintable():
        raise ValueError("must not be empty, nor hold line breaks or other characters that can't be seen")
    if len(value_text) > 1 and _QUOTES.get(value_text[0]) == value_text[-1]:
        raise ValueError("is in quotes, which are part of the value here; write it without them")
    if value_text != value_text.strip():
        raise ValueError("begins or ends with a space; write it without")
    if _UNFILLED.fullmatch(value_text):
        raise ValueError("is the name of a variable and not its value: variables are filled in only in the file")
    return value_text


def name(value: object) -> str:
    """The name of a workspace or an endpoint."""
    if _NAME.fullmatch(value_text := text(value)):
        return value_text
    raise ValueError("must be 1 to 63 of a-z, 0-9, - and _, and begin with a letter or a digit")


def time_zone(value: object) -> str:
    """The name of a time zone, such as `Europe/Berlin`."""
    value_text = text(value)
    try:
        return ZoneInfo(value_text).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = did_you_mean(value_text, available_timezones()) or "; write one such as Europe/Berlin or UTC"
        raise ValueError(f"names no time zone{near}") from None


def host(value: object) -> str:
    """A host name or an address to listen on; IPv6 with or without brackets."""
    if _HOST.fullmatch(value_text := text(value)):
        return value_text
    raise ValueError("must be a host name or an address alone, such as 127.0.0.1; the port goes into server.port")


def url(value: object) -> str:
    """An http or https URL. Its address is checked when the URL is called, not here."""
    value_text = text(value)
    if "@" in value_text.partition("://")[2].partition("/")[0]:
        raise ValueError("must hold no user name or password")
    try:
        validate_url(value_text, _ALLOW_ALL, "it")
    except ValidationFailed as error:
        if error.code != "blocked_address":
            raise ValueError(error.message.removeprefix("it ")) from None
    return value_text


def endpoint_url(value: object) -> str:
    """The URL of an endpoint: http, https, that of a mail server, or `pull:`."""
    value_text = text(value)
    if value_text == PULL_URL:
        return value_text
    if not is_mail_url(value_text):
        return url(value_text)
    try:
        validate_mail_url(value_text, _ALLOW_ALL, "it")
    except ValidationFailed as error:
        if error.code != "blocked_address":
            raise ValueError(error.message.removeprefix("it ")) from None
    return value_text


def quiet_hours(value: object) -> str:
    """A daily window and a time zone."""
    value_text = text(value)
    parse_quiet_hours(value_text)
    return value_text.strip()


def digest(value: object) -> str:
    """How long news are gathered into one message."""
    value_text = text(value)
    parse_digest(value_text)
    return value_text.strip()


def base_url(value: object) -> str:
    """A URL to which paths are appended."""
    value_text = url(value)
    if "?" in value_text or "#" in value_text:
        raise ValueError("must have no query and no fragment")
    return value_text.rstrip("/")


def proxy_url(value: object) -> str:
    """The URL of an HTTP proxy, with its port; it may hold a user name and a password."""
    value_text = text(value)
    if _PROXY.fullmatch(value_text) and int(value_text.rstrip("/").rpartition(":")[2]) <= _MAX_PORT:
        return value_text.rstrip("/")
    raise ValueError("must be the URL of an HTTP proxy with its port, such as http://proxy.example.com:3128")


def store_url(value: object) -> str:
    """The URL of the store. `postgres://`, as hosting services write it, is `postgresql://`."""
    value_text = text(value)
    if value_text.startswith("postgres://"):
        value_text = f"postgresql{value_text.removeprefix('postgres')}"
    value_text = _hosts_as_parameters(value_text)
    if _STORE.fullmatch(value_text):
        if value_text.startswith("postgresql") and not _has_valid_address(value_text):
            raise ValueError(
                "has a host or a port that can't be read; write it as postgresql://user:password@host:5432/name, "
                "and an @ in the password as %40"
            )
        return value_text
    raise ValueError("must start with sqlite:/// and name a file, or with postgresql://")  # guard: configuration-fault


def _hosts_as_parameters(store_url: str) -> str:
    """Several hosts as libpq writes them (`user@one:5432,two:5432/relay`) in the form that the driver reads."""
    match = _SEVERAL_HOSTS.fullmatch(store_url)
    if match is None:
        return store_url
    hosts = "&".join(f"host={host}" for host in match["hosts"].split(","))
    return f"{match['before']}{match['database'] or '/'}?{hosts}{'&' if match['query'] else ''}{match['query'] or ''}"


def _has_valid_address(store_url: str) -> bool:
    """Whether the host and the port of a PostgreSQL are well-formed."""
    match = _DATABASE_URL.match(store_url)
    return match is not None and (match["port"] is None or 0 < int(match["port"]) <= _MAX_PORT)


def network(value: object) -> IPv4Network | IPv6Network:
    """A network, or one address; one of IPv4-mapped addresses becomes the IPv4 network that they stand for."""
    try:
        found = ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError("must be a network such as 10.0.0.0/8 or fd00::/8, or one address") from None
    mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    return found if mapped is None or found.prefixlen < 96 else ip_network(f"{mapped}/{found.prefixlen - 96}")


def login_header(value: object) -> str:
    """The name of a header that a proxy sets for logged-in users."""
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", name):
        raise ValueError("must be a header's name of letters, digits and -, such as Remote-User")
    if name.lower() in _NO_LOGIN_HEADERS or name.lower().startswith(("x-forwarded-for", "x-forwarded-proto")):
        raise ValueError("is a header that every client or proxy may send; name one that only the login sets")
    return name


def format_name(value: object) -> str:
    """One of FORMAT_NAMES."""
    if (value_text := text(value)) in FORMAT_NAMES:
        return value_text
    raise ValueError(f"must be one of {', '.join(FORMAT_NAMES)}{did_you_mean(value_text, FORMAT_NAMES)}")


def headers(value: object) -> dict[str, str]:
    """Extra headers of an endpoint's notifications."""
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
    """A body with placeholders for `relay.formats.template`."""
    try:
        body: dict[str, Any] = json.loads(body_template.check(value))
    except InvalidTemplate as error:
        raise NestedError(error.message, error.location) from None
    return body


# --- secrets ---------------------------------------------------------------------------------------------------


def exec_key(value: object) -> str:
    """Exec's API key. Only Exec can say if the key is valid."""
    if _BEARER_TOKEN.fullmatch(value_text := text(value)):
        return value_text
    raise ValueError(
        "must be the API key as Exec shows it, such as exec_live_...: letters, digits and _ only, without spaces, "
        "quotes or the name of a variable"
    )


def signing_secret(value: object) -> str:
    """A signing secret of an endpoint."""
    value_text = text(value)
    try:
        standard_webhooks.check_secret(value_text)
    except ValidationFailed as error:
        raise ValueError(error.message) from None
    return value_text


def secret_key(value: object) -> str:
    """The key that encrypts the secrets in the store; too long to be found by trying."""
    if len(value_text := text(value)) >= _MIN_SECRET_KEY_LENGTH:
        return value_text
    raise ValueError("must have at least 32 characters; make one with `relay keygen --secret`")


def api_key(value: object) -> str:
    """A key of the relay's own API: fits into an Authorization header and can't be guessed."""
    if _KEY.fullmatch(value_text := text(value)) and 24 <= len(value_text) <= 512:
        return value_text
    raise ValueError("must have at least 24 ASCII characters and no spaces; make one with `relay keygen`")


def key_hash(value: object) -> str:
    """The hash of an API key."""
    if _HASH.fullmatch(value_text := text(value).lower()):
        return value_text
    raise ValueError("must be sha256: and 64 hexadecimal digits, as `relay keygen` prints it")
