"""What the operator sees from outside: metrics for Prometheus, the log, and spans."""

from relay.telemetry.counting import Telemetry
from relay.telemetry.logs import LOGGER, set_up_logging

__all__ = ["LOGGER", "Telemetry", "set_up_logging"]
