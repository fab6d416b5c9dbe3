"""The sections of the configuration: every key with its default and its bounds."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from relay.config import parsers
from relay.config.parsers import duration, duration_between, integer_between, list_of
from relay.egress import EgressRules
from relay.model import DAY, HOUR, SECOND, EventType
from relay.security import SCOPES, FieldCipher, Scope
from relay.signing import SignatureScheme

Name = Annotated[str, BeforeValidator(parsers.name)]
BaseUrl = Annotated[str, BeforeValidator(parsers.base_url)]
ExecKey = Annotated[SecretStr, BeforeValidator(parsers.exec_key)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(parsers.network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(list_of(0, 1_000))]
HeaderName = Annotated[str, BeforeValidator(parsers.login_header)]
Role = Literal["admin", "register", "read"]
ProxyUrl = Annotated[SecretStr, BeforeValidator(parsers.proxy_url)]
SecretKey = Annotated[SecretStr, BeforeValidator(parsers.secret_key)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return {} if value is None else value


class Budget(_Section):
    """Exec's rate limits of a workspace, and the share of them that the relay may use."""

    per_minute: Annotated[int, BeforeValidator(integer_between(1, 100_000))] = 60
    per_day: Annotated[int, BeforeValidator(integer_between(1, 10_000_000))] = 1_000
    share: Annotated[float, BeforeValidator(parsers.share)] = 0.8


class ExecSection(_Section):
    """How the relay calls Exec. `api_key` is only an input: `load` moves it to a workspace named `default`."""

    base_url: BaseUrl = "https://api.exec.com/rest/v1"
    api_key: ExecKey | None = None
    timeout: Annotated[int, BeforeValidator(duration_between("1s", "60s"))] = 10 * SECOND
    proxy: ProxyUrl | None = None
    budget: Budget = Budget()

    @property
    def proxy_url(self) -> str | None:
        """The URL of the proxy with its password, if there is one."""
        return self.proxy.get_secret_value() if self.proxy else None


class Workspace(_Section):
    """One Exec workspace: its key, base URL and budget. What it leaves out is inherited from `exec`."""

    name: Name
    api_key: ExecKey
    base_url: BaseUrl = "https://api.exec.com/rest/v1"
    budget: Budget = Budget()


class Polling(_Section):
    """When jobs are polled."""

    strategy: Literal["adaptive", "interval"] = "adaptive"
    tick: Annotated[int, BeforeValidator(duration_between("50ms", "1m"))] = SECOND
    interval: Annotated[int, BeforeValidator(duration_between("100ms", "1d"))] = 15 * SECOND
    max_age: Annotated[int, BeforeValidator(duration_between("1s", "30d"))] = 24 * HOUR
    concurrency: Annotated[int, BeforeValidator(integer_between(1, 1_000))] = 20


Delay = Annotated[int, BeforeValidator(duration_between("0s", "7d"))]
SCHEDULE = tuple(map(duration, ["0s", "5s", "30s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]))


class DeliverySection(_Section):
    """How notifications are sent."""

    timeout: Annotated[int, BeforeValidator(duration_between("1s", "30s"))] = 15 * SECOND
    schedule: Annotated[tuple[Delay, ...], BeforeValidator(list_of(1, 50))] = SCHEDULE
    concurrency: Annotated[int, BeforeValidator(integer_between(1, 10_000))] = 64
    per_host: Annotated[int, BeforeValidator(integer_between(1, 10_000))] = 4
    per_endpoint: Annotated[int, BeforeValidator(integer_between(1, 10_000))] | None = None
    disable_after: Annotated[int, BeforeValidator(duration_between("1m", "365d"))] = 5 * DAY
    proxy: ProxyUrl | None = None

    @property
    def endpoint_concurrency(self) -> int:
        """Concurrent attempts to one endpoint. By default three quarters of its host's.

        So a slow endpoint leaves capacity for the other endpoints of its host.
        """
        return min(self.per_endpoint or max(1, self.per_host * 3 // 4), self.per_host)


_Retention = Annotated[int, BeforeValidator(duration_between("1h", "3650d"))]


class RetentionOf(_Section):
    """How long rows of a kind are kept. None: as long as their job."""

    deliveries: _Retention | None = None
    polls: _Retention | None = None
    audit: _Retention = 365 * DAY


class Storage(_Section):
    """Where the relay keeps its data."""

    # Not in the repr: the URL of a PostgreSQL holds a password.
    url: Annotated[str, BeforeValidator(parsers.store_url)] = Field(default="sqlite:///data/relay.db", repr=False)
    retention: _Retention = 30 * DAY
    retention_of: RetentionOf = RetentionOf()


class Server(_Section):
    """Where the relay listens."""

    host: Annotated[str, BeforeValidator(parsers.host)] = "127.0.0.1"
    port: Annotated[int, BeforeValidator(integer_between(0, 65_535))] = 8080
    public_url: BaseUrl | None = None
    instance: Name | None = None
    time_zone: Annotated[str, BeforeValidator(parsers.time_zone)] | None = None
    drain: Annotated[int, BeforeValidator(duration_between("0s", "5m"))] = 0
    trusted_proxies: Networks = ()
    trusted_user_header: HeaderName | None = None
    trusted_role_header: HeaderName | None = None
    trusted_roles: dict[str, Role] = Field(default_factory=dict)
    """What each value of the role header allows. Empty: the values are roles themselves."""
    trusted_default_role: Literal["admin", "register", "read", "none"] = "read"


class ApiKey(_Section):
    """A key of the relay's own API; only its hash is kept."""

    also_written: ClassVar = frozenset({"key"})
    """A mapping may give the key instead of the hash; `config/api_keys.py` replaces it before validation."""

    name: Annotated[str, BeforeValidator(parsers.text), Field(max_length=100)]
    hash: Annotated[str, BeforeValidator(parsers.key_hash)]
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(list_of(1, len(SCOPES)))] = SCOPES

    @property
    def id(self) -> str:
        """Keys of the configuration have a name, and no id of their own."""
        return "configuration"


class Security(_Section):
    """Who may use the relay, and which addresses the relay may call."""

    api_keys: Annotated[tuple[ApiKey, ...], BeforeValidator(list_of(0, 10_000))] = ()
    requests_per_minute: Annotated[int, BeforeValidator(integer_between(1, 1_000_000))] | None = 1_200
    waits_per_key: Annotated[int, BeforeValidator(integer_between(1, 20_000))] = 10_000
    secret_key: SecretKey | None = None
    old_secret_keys: Annotated[tuple[SecretKey, ...], BeforeValidator(list_of(0, 10))] = ()
    allow_http: Annotated[bool, BeforeValidator(parsers.boolean)] = False
    allow_networks: Networks = ()
    allow_networks_for: Literal["admin", "register"] = "admin"
    deny_networks: Networks = ()

    def egress_rules(self) -> EgressRules:
        """Which addresses the relay may call for endpoints of the configuration and of keys with the scope admin."""
        return EgressRules(self.allow_http, self.allow_networks, self.deny_networks)

    def outside_egress_rules(self) -> EgressRules:
        """Which addresses the relay may call for callback URLs of other keys."""
        allowed = self.allow_networks if self.allow_networks_for == "register" else ()
        return EgressRules(self.allow_http, allowed, self.deny_networks)

    def cipher(self) -> FieldCipher:
        """Encrypts and decrypts the secrets in the store."""
        key = self.secret_key.get_secret_value() if self.secret_key else None
        return FieldCipher(key, [old.get_secret_value() for old in self.old_secret_keys])


class EndpointSection(_Section):
    """A standing endpoint: it is notified of every job."""

    name: Name
    url: Annotated[SecretStr, BeforeValidator(parsers.endpoint_url)]
    format: Annotated[str, BeforeValidator(parsers.format_name)] = "auto"
    template: Annotated[dict[str, Any], BeforeValidator(parsers.template)] | None = Field(default=None, repr=False)
    events: Annotated[tuple[EventType, ...], BeforeValidator(list_of(0, len(EventType)))] | None = None
    """None: the format's default. Empty: only news about the relay, if `operator.endpoints` names the endpoint."""
    secret: Annotated[SecretStr, BeforeValidator(parsers.signing_secret)] | None = None
    signing: SignatureScheme | None = None
    headers: Annotated[dict[str, str], BeforeValidator(parsers.headers)] = Field(default_factory=dict, repr=False)
    quiet: Annotated[str, BeforeValidator(parsers.quiet_hours)] | None = None
    """When news of success are held, such as `22:00-07:00 Europe/Berlin`."""
    digest: Annotated[str, BeforeValidator(parsers.digest)] | None = None
    """How long news of success are gathered into one message, such as `5m`."""
    fallback: Name | None = None
    """The endpoint that gets what finally failed at this one."""


class OperatorSection(_Section):
    """Who gets news about the relay itself: a refused key, an unreachable Exec, a disabled endpoint."""

    endpoints: Annotated[tuple[Name, ...], BeforeValidator(list_of(0, 20))] = ()
    max_per_hour: Annotated[int, BeforeValidator(integer_between(1, 1_000))] = 10


class MetricsSection(_Section):
    """A port for metrics alone, which need no API key there."""

    host: Annotated[str, BeforeValidator(parsers.host)] = "127.0.0.1"
    port: Annotated[int, BeforeValidator(integer_between(1, 65_535))] | None = None


class Logging(_Section):
    """The format and level of the log."""

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section):
    """The whole configuration. `relay.config.load` makes sure that `workspaces` is never empty."""

    exec: ExecSection = ExecSection()
    workspaces: Annotated[tuple[Workspace, ...], BeforeValidator(list_of(0, 1_000))] = ()
    polling: Polling = Polling()
    delivery: DeliverySection = DeliverySection()
    storage: Storage = Storage()
    server: Server = Server()
    security: Security = Security()
    endpoints: Annotated[tuple[EndpointSection, ...], BeforeValidator(list_of(0, 1_000))] = ()
    operator: OperatorSection = OperatorSection()
    metrics: MetricsSection = MetricsSection()
    logging: Logging = Logging()
