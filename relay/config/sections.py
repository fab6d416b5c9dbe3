"""The sections of the configuration: every key with its default and its bounds."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from relay.api_keys import SCOPES, Scope
from relay.config_text import values
from relay.config_text.values import between, duration, listed, whole
from relay.model import DAY, ENDINGS, HOUR, SECOND, EventType
from relay.sealing import Seal
from relay.signing import Signing

Name = Annotated[str, BeforeValidator(values.name)]
BaseUrl = Annotated[str, BeforeValidator(values.base_url)]
ExecKey = Annotated[SecretStr, BeforeValidator(values.exec_key)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(values.network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(listed(0, 1_000))]
SecretKey = Annotated[SecretStr, BeforeValidator(values.secret_key)]


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
    trusted_proxies: Networks = ()


class ApiKey(_Section):
    """A key of the relay's own API; only its hash is kept."""

    also_written: ClassVar = frozenset({"key"})
    """A mapping may give the key in the hash's place; `api_keys.py` changes that before this is made."""

    name: Annotated[str, BeforeValidator(values.text), Field(max_length=100)]
    hash: Annotated[str, BeforeValidator(values.key_hash)]
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(listed(1, 3))] = SCOPES


class Security(_Section):
    """Who may use the relay, and whom the relay may call."""

    api_keys: Annotated[tuple[ApiKey, ...], BeforeValidator(listed(0, 10_000))] = ()
    requests_per_minute: Annotated[int, BeforeValidator(whole(1, 1_000_000))] | None = 1_200
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
    """All of it, as `relay.config.load` makes it: `workspaces` is never empty."""

    exec: Exec = Exec()
    workspaces: Annotated[tuple[Workspace, ...], BeforeValidator(listed(0, 1_000))] = ()
    polling: Polling = Polling()
    delivery: DeliveryRules = DeliveryRules()
    storage: Storage = Storage()
    server: Server = Server()
    security: Security = Security()
    endpoints: Annotated[tuple[StandingEndpoint, ...], BeforeValidator(listed(0, 1_000))] = ()
    logging: Logging = Logging()
