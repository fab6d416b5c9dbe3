"""The configuration: what may be set, its defaults and bounds. `config_text` reads it from files and variables.

Durations are written `15s`, `5m`, `1h30m` and held as whole milliseconds.
"""

from relay.config.making import from_mapping, load
from relay.config.sections import ApiKey, Budget, Config, DeliveryRules, Exec, StandingEndpoint, Workspace
from relay.config_text.values import FORMAT_NAMES, duration

__all__ = [
    "FORMAT_NAMES",
    "ApiKey",
    "Budget",
    "Config",
    "DeliveryRules",
    "Exec",
    "StandingEndpoint",
    "Workspace",
    "duration",
    "from_mapping",
    "load",
]
