"""The configuration: what may be set, its defaults and bounds. `config_text` reads it from files and variables.

Durations are written `15s`, `5m`, `1h30m` and held as whole milliseconds.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from relay import config_text
from relay.addresses import mask
from relay.config_text import Place, Problem, Source, dotted, values
from relay.config_text.values import FORMAT_NAMES, between, duration, listed, whole
from relay.errors import ConfigError
from relay.model import DAY, ENDINGS, HOUR, SECOND, EventType
from relay.sealing import Seal
from relay.signing import Signing

__all__ = ["FORMAT_NAMES", "ApiKey", "Budget", "Config", "DeliveryRules", "Exec", "StandingEndpoint", "Workspace"]
__all__ += ["duration", "from_mapping", "load"]

Name = Annotated[str, BeforeValidator(values.name)]
BaseUrl = Annotated[str, BeforeValidator(values.base_url)]
ExecKey = Annotated[SecretStr, BeforeValidator(values.exec_key)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(values.network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(listed(0, 1_000))]
SecretKey = Annotated[SecretStr, BeforeValidator(values.secret_key)]
Scope = Literal["register", "read", "admin"]

_NO_HASH = "sha256:" + "0" * 64
"""Stands where a key could not be used, so that the rest of its entry is judged too; nothing is made of it."""

_SHARED = ("api_key", "base_url", "budget")
_IN_OUR_WORDS = {"missing": "is missing", "model_type": "must hold keys and values"}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return {} if value is None else value


class Budget(_Section):
    """What a workspace may spend at Exec: its limits, and the share of them that is the relay's."""

    per_minute: Annotated[int, BeforeValidator(whole(1, 100_000))] = 60
    per_day: Annotated[int, BeforeValidator(whole(1, 10_000_000))] = 1_000
    share: Annotated[float, BeforeValidator(values.share)] = 0.8


class Exec(_Section):
    """How Exec is reached. `api_key` is an input only: it ends up in the workspace named `default`."""

    base_url: BaseUrl = "https://api.exec.com/rest/v1"
    api_key: ExecKey | None = None
    timeout: Annotated[int, BeforeValidator(between("1s", "60s"))] = 10 * SECOND
    budget: Budget = Budget()


class Workspace(_Section):
    """One Exec workspace: its key, its place, its budget; what of these it leaves out is that of `exec`."""

    name: Name
    api_key: ExecKey
    base_url: BaseUrl = "https://api.exec.com/rest/v1"
    budget: Budget = Budget()


class Polling(_Section):
    """When jobs are looked at."""

    strategy: Literal["adaptive", "interval"] = "adaptive"
    tick: Annotated[int, BeforeValidator(between("50ms", "1m"))] = SECOND
    interval: Annotated[int, BeforeValidator(between("100ms", "1d"))] = 15 * SECOND
    max_age: Annotated[int, BeforeValidator(between("1s", "30d"))] = 24 * HOUR
    concurrency: Annotated[int, BeforeValidator(whole(1, 1_000))] = 20


Delay = Annotated[int, BeforeValidator(between("0s", "7d"))]
SCHEDULE = tuple(map(duration, ["0s", "5s", "30s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]))


class DeliveryRules(_Section):
    """How notifications are sent."""

    timeout: Annotated[int, BeforeValidator(between("1s", "30s"))] = 15 * SECOND
    schedule: Annotated[tuple[Delay, ...], BeforeValidator(listed(1, 50))] = SCHEDULE
    concurrency: Annotated[int, BeforeValidator(whole(1, 10_000))] = 64
    per_host: Annotated[int, BeforeValidator(whole(1, 10_000))] = 4
    per_endpoint: Annotated[int, BeforeValidator(whole(1, 10_000))] | None = None
    disable_after: Annotated[int, BeforeValidator(between("1m", "365d"))] = 5 * DAY

    @property
    def at_one_endpoint(self) -> int:
        """Attempts under way at one endpoint: unless configured, three quarters of what its host may have.

        So a slow endpoint leaves room for the others of its host.
        """
        return min(self.per_endpoint or max(1, self.per_host * 3 // 4), self.per_host)


class Storage(_Section):
    """Where the relay keeps what it must not lose."""

    # Not shown: PostgreSQL's URL holds a password.
    url: Annotated[str, BeforeValidator(values.store_url)] = Field(default="sqlite:///data/relay.db", repr=False)
    retention: Annotated[int, BeforeValidator(between("1h", "3650d"))] = 30 * DAY


class Server(_Section):
    """Where the relay listens."""

    host: Annotated[str, BeforeValidator(values.host)] = "127.0.0.1"
    port: Annotated[int, BeforeValidator(whole(0, 65_535))] = 8080
    public_url: BaseUrl | None = None


class ApiKey(_Section):
    """A key of the relay's own API; only its hash is kept."""

    also_written: ClassVar = frozenset({"key"})
    """A mapping may give the key in the hash's place; `_hashed` changes that before this is made."""

    name: Annotated[str, BeforeValidator(values.text), Field(max_length=100)]
    hash: Annotated[str, BeforeValidator(values.key_hash)]
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(listed(1, 3))] = ("register", "read", "admin")


class Security(_Section):
    """Who may use the relay, and whom the relay may call."""

    api_keys: Annotated[tuple[ApiKey, ...], BeforeValidator(listed(0, 10_000))] = ()
    secret_key: SecretKey | None = None
    old_secret_keys: Annotated[tuple[SecretKey, ...], BeforeValidator(listed(0, 10))] = ()
    allow_http: Annotated[bool, BeforeValidator(values.yes_or_no)] = False
    allow_networks: Networks = ()
    deny_networks: Networks = ()

    def seal(self) -> Seal:
        """What the secrets of the store are sealed and opened with."""
        key = self.secret_key.get_secret_value() if self.secret_key else None
        return Seal(key, [old.get_secret_value() for old in self.old_secret_keys])


class StandingEndpoint(_Section):
    """A subscriber that hears of every job."""

    name: Name
    url: Annotated[SecretStr, BeforeValidator(values.url)]
    format: Annotated[str, BeforeValidator(values.format_name)] = "auto"
    template: Annotated[dict[str, Any], BeforeValidator(values.template)] | None = Field(default=None, repr=False)
    events: Annotated[tuple[EventType, ...], BeforeValidator(listed(1, len(EventType)))] = ENDINGS
    secret: Annotated[SecretStr, BeforeValidator(values.signing_secret)] | None = None
    signing: Signing | None = None
    headers: Annotated[dict[str, str], BeforeValidator(values.headers)] = Field(default_factory=dict, repr=False)


class Logging(_Section):
    """What is said, and how."""

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section):
    """All of it, as `load` and `from_mapping` make it: `workspaces` is never empty."""

    exec: Exec = Exec()
    workspaces: Annotated[tuple[Workspace, ...], BeforeValidator(listed(0, 1_000))] = ()
    polling: Polling = Polling()
    delivery: DeliveryRules = DeliveryRules()
    storage: Storage = Storage()
    server: Server = Server()
    security: Security = Security()
    endpoints: Annotated[tuple[StandingEndpoint, ...], BeforeValidator(listed(0, 1_000))] = ()
    logging: Logging = Logging()


# --- making one ------------------------------------------------------------------------------------------------


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file (None: of the environment alone), environment before file, defaults last.

    Raises ConfigError that lists every problem, each with file, line and key and what to write instead.
    """
    return _made(config_text.read(path, environ, Config))


def from_mapping(data: Mapping[str, Any]) -> Config:
    """The same rules for values that are no file. Raises ConfigError."""
    return _made(Source(dict(data)))


def _made(source: Source) -> Config:
    data, problems = _with_hashes(source.data)
    try:
        config, faulty = Config.model_validate(data), frozenset[Place]()
    except ValidationError as error:
        faults = error.errors(include_url=False)
        problems += [_problem(fault) for fault in faults]
        faulty = frozenset(fault["loc"][:2] for fault in faults)
        config = Config.model_validate(_sound(data, faulty))
    if told := source.report([*problems, *_contradictions(config, data, faulty)]):
        raise ConfigError(told)
    return _with_workspaces(config)


def _with_hashes(data: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The data with every API key replaced by its hash."""
    security = data.get("security")
    keys = security.get("api_keys") if isinstance(security, Mapping) else None
    if not isinstance(security, Mapping) or not isinstance(keys, list | tuple):
        return data, []
    problems: list[Problem] = []
    hashed = [_hashed(key, number, problems) for number, key in enumerate(keys)]
    return {**data, "security": {**security, "api_keys": hashed}}, problems


def _hashed(given: Any, number: int, problems: list[Problem]) -> dict[str, Any]:
    place: Place = ("security", "api_keys", number)
    written = given
    if isinstance(given, str):
        written = {"hash" if given.startswith("sha256:") else "key": given}
    elif isinstance(given, Mapping) and "key" in given:
        place = (*place, "key")
    entry: dict[str, Any] = {"name": f"key-{number + 1}", "hash": _NO_HASH}
    if not isinstance(written, Mapping) or ("key" in written) == ("hash" in written):
        problems.append(
            Problem(place[:3], "must be a key, its hash, or {name, key or hash, scopes}; see `relay keygen`")
        )
        return entry
    entry |= {str(part): value for part, value in written.items() if part != "key"}
    try:
        if "key" in written:
            entry["hash"] = "sha256:" + hashlib.sha256(values.relay_key(written["key"]).encode()).hexdigest()
    except ValueError as error:
        problems.append(Problem(place, str(error)))
    return entry


def _problem(fault: Any) -> Problem:
    """What pydantic found, in our words. The wrong value is only looked at, to say what is close to it."""
    place, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        names = config_text.names_at(Config, place[:-1])
        return Problem(place, f"unknown key{config_text.nearest(str(place[-1]), names)}")
    if kind in ("literal_error", "enum"):
        known = re.findall("'([^']+)'", fault["ctx"]["expected"])
        return Problem(place, f"must be one of {', '.join(known)}{config_text.closest(str(fault['input']), known)}")
    if isinstance(error := fault.get("ctx", {}).get("error"), values.Misplaced):
        place = (*place, *error.place)
    text = _IN_OUR_WORDS.get(kind) or str(fault["msg"]).removeprefix("Value error, ")
    return Problem(place, text[0].lower() + text[1:])


# --- what only shows when all is seen together -----------------------------------------------------------------


def _sound(data: Mapping[str, Any], faulty: frozenset[Place]) -> dict[str, Any]:
    """The data without what is faulty: whole sections, single entries of lists. So the rest can be judged too."""
    wrong = {place[0] for place in faulty}
    sound = {name: value for name, value in data.items() if name not in wrong}
    for name in ("workspaces", "endpoints"):
        if name not in sound and (name,) not in faulty and name in data:
            sound[name] = [data[name][place[1]] for place in _entries(data, faulty, name)]
    return sound


def _entries(data: Mapping[str, Any], faulty: frozenset[Place], name: str) -> list[tuple[str, int]]:
    """The places of those entries of a list that are not faulty."""
    given = data.get(name)
    count = len(given) if isinstance(given, list | tuple) and (name,) not in faulty else 0
    return [(name, number) for number in range(count) if (name, number) not in faulty]


def _contradictions(config: Config, data: Mapping[str, Any], faulty: frozenset[Place]) -> Iterator[Problem]:
    spaces = list(zip(_entries(data, faulty, "workspaces"), config.workspaces, strict=True))
    endpoints = list(zip(_entries(data, faulty, "endpoints"), config.endpoints, strict=True))
    keys = [(("security", "api_keys", number), key) for number, key in enumerate(config.security.api_keys)]
    yield from _one_or_several(data)
    yield from _same_names((place, space.name) for place, space in spaces)
    yield from _same_names((place, endpoint.name) for place, endpoint in endpoints)
    yield from _same_names((place, key.name) for place, key in keys)
    if any(place[0] == "security" for place in faulty):
        return  # What is allowed is not known.
    if not config.security.allow_http:
        own = [(place, space.base_url) for place, space in spaces if "base_url" in space.model_fields_set]
        yield from _keys_in_the_open([(("exec",), config.exec.base_url), *own])
        yield from _news_in_the_open((place, endpoint.url.get_secret_value()) for place, endpoint in endpoints)
    if not keys and not _is_loopback(config.server.host):
        text = "is open to others, but security.api_keys is empty: make a key with `relay keygen`, or use 127.0.0.1"
        yield Problem(("server", "host"), text)


def _one_or_several(data: Mapping[str, Any]) -> Iterator[Problem]:
    exec, spaces = data.get("exec"), data.get("workspaces")
    key = exec.get("api_key") if isinstance(exec, Mapping) else None
    if key is not None and spaces:
        yield Problem(("workspaces",), "give exec.api_key for one workspace or workspaces for several, not both")
    if key is None and not spaces and (exec is None or isinstance(exec, Mapping)):
        text = "is missing: write Exec's API key here, or set RELAY_EXEC__API_KEY; for several, see workspaces"
        yield Problem(("exec", "api_key"), text)


def _same_names(named: Iterable[tuple[Place, str]]) -> Iterator[Problem]:
    seen: dict[str, Place] = {}
    for place, name in named:
        if name in seen:
            yield Problem((*place, "name"), f"needs a name of its own; this one is that of {dotted(seen[name])}")
        seen.setdefault(name, place)


def _keys_in_the_open(urls: Iterable[tuple[Place, str]]) -> Iterator[Problem]:
    for place, url in urls:
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            text = "must be https, or the API key travels in the open; to allow that, set security.allow_http"
            yield Problem((*place, "base_url"), text)


def _news_in_the_open(urls: Iterable[tuple[Place, str]]) -> Iterator[Problem]:
    for place, url in urls:
        if urlsplit(url).scheme == "http":
            yield Problem((*place, "url"), f"must be https, and is {mask(url)}; or set security.allow_http")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _with_workspaces(config: Config) -> Config:
    exec = config.exec
    spaces = tuple(_inheriting(space, exec) for space in config.workspaces)
    if exec.api_key is not None:
        spaces = (Workspace.model_construct(name="default", **{part: getattr(exec, part) for part in _SHARED}),)
    return config.model_copy(update={"exec": exec.model_copy(update={"api_key": None}), "workspaces": spaces})


def _inheriting(space: Workspace, exec: Exec) -> Workspace:
    own = {part: getattr(space.budget, part) for part in space.budget.model_fields_set}
    base_url = space.base_url if "base_url" in space.model_fields_set else exec.base_url
    return space.model_copy(update={"base_url": base_url, "budget": exec.budget.model_copy(update=own)})
