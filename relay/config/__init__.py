"""The configuration: what may be set, its defaults and bounds. `config_text` reads it from files and variables.

Durations are written `15s`, `5m`, `1h30m` and held as whole milliseconds.
"""

from relay.config.load import from_mapping, load
from relay.config.parsers import FORMAT_NAMES, duration
from relay.config.schema import ApiKey, Budget, Config, DeliverySection, EndpointSection, ExecSection, Workspace

__all__ = [
    "FORMAT_NAMES",
    "ApiKey",
    "Budget",
    "Config",
    "DeliverySection",
    "EndpointSection",
    "ExecSection",
    "Workspace",
    "duration",
    "from_mapping",
    "load",
]
