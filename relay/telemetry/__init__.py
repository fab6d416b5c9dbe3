"""What the operator sees from outside: metrics for Prometheus, the log, and spans."""

from relay.telemetry.counting import Telemetry
from relay.telemetry.exporting import spans_for
from relay.telemetry.faults import tell_of_faults
from relay.telemetry.log_thread import log_on_a_thread
from relay.telemetry.logs import LOGGER, set_up_logging, told
from relay.telemetry.spans import Spans

__all__ = ["LOGGER", "Spans", "Telemetry", "log_on_a_thread", "set_up_logging", "spans_for", "tell_of_faults", "told"]
