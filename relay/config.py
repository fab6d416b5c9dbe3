"""The configuration: what may be set, its defaults and bounds. `config_text.py` reads it from files and variables.

Durations are written `15s`, `5m`, `1h30m` and held as whole milliseconds.
"""

import hashlib
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from relay import config_text, formats, signing
from relay.config_text import Problem, Source
from relay.errors import ConfigError, Invalid
from relay.model import DAY, ENDINGS, HOUR, MINUTE, SECOND, EventType

_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(value: object) -> int:
    """`1h30m` → 5,400,000 ms. Raises ValueError for what has no unit."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0
    text = str(value).replace(" ", "")
    if isinstance(value, (int, float)) or re.fullmatch(r"[\d.]+", text):
        raise ValueError("say which unit, such as 15s, 5m or 1h30m")
    if not isinstance(value, str) or not _DURATION.fullmatch(text):
        raise ValueError("write a duration such as 500ms, 15s, 5m, 1h30m or 30d")
    return round(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))


def _between(low: str, high: str) -> BeforeValidator:
    least, most = duration(low), duration(high)

    def check(value: object) -> int:
        found = duration(value)
        if not least <= found <= most:
            raise ValueError(f"must be {low} to {high}")
        return found

    return BeforeValidator(check)


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host:
        return "must start with https:// and name a host"
    if parts.username is not None or parts.password is not None:
        return "must hold no user name or password"
    return None


def _base_url(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a URL such as https://api.exec.com/rest/v1")
    if problem := _url_problem(value):
        raise ValueError(problem)
    if urlsplit(value).query or urlsplit(value).fragment:
        raise ValueError("must have no query and no fragment")
    return value.rstrip("/")


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError("must be a network such as 10.0.0.0/8 or fd00::/8, or one address") from None


Duration = Annotated[int, BeforeValidator(duration)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Scope = Literal["register", "read", "admin"]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True, arbitrary_types_allowed=True
    )


class Budget(_Section):
    """What a workspace may spend at Exec: its limits, and the share of them that is the relay's."""

    per_minute: int = Field(default=60, ge=1, le=100_000)
    per_day: int = Field(default=1_000, ge=1, le=10_000_000)
    share: float = Field(default=0.8, gt=0, le=1)


class Exec(_Section):
    """How Exec is reached."""

    base_url: BaseUrl = "https://api.exec.com/rest/v1"
    api_key: SecretStr | None = None
    timeout: Annotated[int, _between("1s", "60s")] = "10s"  # type: ignore[assignment]
    budget: Budget = Budget()


class Workspace(_Section):
    """One Exec workspace: its key, its place, its budget."""

    name: Name
    api_key: SecretStr
    base_url: BaseUrl = "https://api.exec.com/rest/v1"
    budget: Budget = Budget()


class Polling(_Section):
    """When jobs are looked at."""

    strategy: Literal["adaptive", "interval"] = "adaptive"
    tick: Annotated[int, _between("50ms", "1m")] = "1s"  # type: ignore[assignment]
    interval: Annotated[int, _between("100ms", "1d")] = "15s"  # type: ignore[assignment]
    max_age: Annotated[int, _between("1s", "30d")] = "24h"  # type: ignore[assignment]
    concurrency: int = Field(default=20, ge=1, le=1_000)


class DeliveryRules(_Section):
    """How notifications are sent."""

    timeout: Annotated[int, _between("1s", "30s")] = "15s"  # type: ignore[assignment]
    schedule: Annotated[tuple[Annotated[int, _between("0s", "7d")], ...], Field(min_length=1, max_length=50)] = (
        "0s", "5s", "30s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h",
    )  # type: ignore[assignment]  # fmt: skip
    concurrency: int = Field(default=64, ge=1, le=10_000)
    per_host: int = Field(default=4, ge=1, le=10_000)
    disable_after: Annotated[int, _between("1m", "365d")] = "5d"  # type: ignore[assignment]


class Storage(_Section):
    """Where the relay keeps what it must not lose."""

    url: str = "sqlite:///data/relay.db"
    retention: Annotated[int, _between("1h", "3650d")] = "30d"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _known_database(self) -> Self:
        if not self.url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("url must start with sqlite:/// or postgresql://")
        return self


class Server(_Section):
    """Where the relay listens."""

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=8080, ge=0, le=65_535)
    public_url: BaseUrl | None = None


class ApiKey(_Section):
    """A key of the relay's own API; only its hash is kept."""

    name: str = Field(default="", max_length=100)
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = ("register", "read", "admin")

    @model_validator(mode="before")
    @classmethod
    def _hashed(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "key" in value:
            key = value["key"]
            if not isinstance(key, str) or len(key) < 24 or "hash" in value:
                raise ValueError("a key has at least 24 characters and no hash beside it; make one with `relay keygen`")
            rest = {name: part for name, part in value.items() if name != "key"}
            return {**rest, "hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest()}
        return value


def _key_named(name: str, key: Any) -> Any:
    if isinstance(key, str):
        return {"name": name, "hash" if key.startswith("sha256:") else "key": key}
    return {"name": name, **key} if isinstance(key, Mapping) else key


class Security(_Section):
    """Who may use the relay, and whom the relay may call."""

    api_keys: tuple[ApiKey, ...] = ()
    secret_key: SecretStr | None = None
    allow_http: bool = False
    allow_networks: tuple[Network, ...] = ()
    deny_networks: tuple[Network, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("api_keys"), list):
            return {**value, "api_keys": [_key_named(f"key-{n}", key) for n, key in enumerate(value["api_keys"], 1)]}
        return value


class StandingEndpoint(_Section):
    """A subscriber that hears of every job."""

    name: Name
    url: SecretStr
    format: str = "auto"
    events: Annotated[tuple[EventType, ...], Field(min_length=1)] = ENDINGS
    secret: SecretStr | None = None
    headers: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if problem := _url_problem(self.url.get_secret_value()):
            raise ValueError(f"url {problem}")
        if self.format != "auto" and self.format not in formats.FORMATS:
            raise ValueError(f"format must be one of {', '.join(['auto', *formats.FORMATS])}")
        if self.secret is not None:
            try:
                signing.check_secret(self.secret.get_secret_value())
            except Invalid as error:
                raise ValueError(error.message) from None
        return self


class Logging(_Section):
    """What is said, and how."""

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section):
    """All of it. `workspaces` is never empty: `exec.api_key` becomes the one named `default`."""

    exec: Exec = Exec()
    workspaces: tuple[Workspace, ...] = ()
    polling: Polling = Polling()
    delivery: DeliveryRules = DeliveryRules()
    storage: Storage = Storage()
    server: Server = Server()
    security: Security = Security()
    endpoints: tuple[StandingEndpoint, ...] = ()
    logging: Logging = Logging()

    @model_validator(mode="before")
    @classmethod
    def _one_or_several_workspaces(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        shared = value.get("exec")
        shared = shared if isinstance(shared, Mapping) else {}
        inherited = {name: shared[name] for name in ("base_url", "budget") if name in shared}
        spaces = value.get("workspaces")
        if shared.get("api_key") is not None:
            if spaces:
                raise ValueError("give exec.api_key for one workspace or workspaces for several, not both")
            return {**value, "workspaces": [{"name": "default", "api_key": shared["api_key"], **inherited}]}
        if isinstance(spaces, list):
            return {**value, "workspaces": [{**inherited, **s} if isinstance(s, Mapping) else s for s in spaces]}
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.workspaces:
            raise ValueError("exec.api_key is missing: write it there, or set RELAY_EXEC__API_KEY")
        for what, names in {
            "workspaces": [space.name for space in self.workspaces],
            "endpoints": [endpoint.name for endpoint in self.endpoints],
        }.items():
            if len(set(names)) < len(names):
                raise ValueError(f"{what}: each needs a name of its own")
        for url in [space.base_url for space in self.workspaces]:
            if url.startswith("http://") and not (
                _is_loopback(urlsplit(url).hostname or "") or self.security.allow_http
            ):
                raise ValueError("exec.base_url must be https: the key would travel in the open")
        for endpoint in self.endpoints:
            if endpoint.url.get_secret_value().startswith("http://") and not self.security.allow_http:
                raise ValueError(f"endpoints: the url of {endpoint.name} must be https, or set security.allow_http")
        if not self.security.api_keys and not _is_loopback(self.server.host):
            raise ValueError(
                "server.host is open to others, and security.api_keys is empty: make a key with `relay keygen`, "
                "or listen on 127.0.0.1"
            )
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file (None: of the environment alone), environment before file, defaults last.

    Raises ConfigError that lists every problem, each with file, line and key and what to write instead.
    """
    source = config_text.read(path, environ, Config)
    return _validate(source.data, source)


def from_mapping(data: Mapping[str, Any]) -> Config:
    """The same rules for values that are no file. Raises ConfigError."""
    return _validate(dict(data), Source())


def _validate(data: dict[str, Any], source: Source) -> Config:
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        found = [_problem(item) for item in error.errors(include_url=False, include_input=False)]
        raise ConfigError("\n".join(source.lines([*source.problems, *found]))) from None
    if source.problems:
        raise ConfigError("\n".join(source.lines(source.problems)))
    return config


def _problem(item: Any) -> Problem:
    place = tuple(part for part in item["loc"] if isinstance(part, int) or not part.startswith(("function-", "tuple")))
    if item["type"] == "extra_forbidden":
        known = config_text.names_at(Config, place[:-1])
        return Problem(place, f"unknown key{config_text.nearest(str(place[-1]), known)}")
    text = str(item["msg"]).removeprefix("Value error, ")
    return Problem(place, text[0].lower() + text[1:])
