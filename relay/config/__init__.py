"""The configuration: its keys, defaults and bounds, read from a YAML file and the environment.

Durations are written `15s`, `5m`, `1h30m` and are whole milliseconds in the code.
"""

from relay.config.load import from_mapping, load, unused_variables
from relay.config.parsers import FORMAT_NAMES, duration
from relay.config.schema import (
    ApiKey,
    Config,
    DeliverySection,
    EndpointSection,
    ExecSection,
    OperatorSection,
    Server,
    Workspace,
)

__all__ = [
    "FORMAT_NAMES",
    "ApiKey",
    "Config",
    "DeliverySection",
    "EndpointSection",
    "ExecSection",
    "OperatorSection",
    "Server",
    "Workspace",
    "duration",
    "from_mapping",
    "load",
    "unused_variables",
]
