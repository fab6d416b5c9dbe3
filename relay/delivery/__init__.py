"""Delivery: leases due deliveries, sends them, records the results; notifies operators.

Other packages use what is imported here; the rules are in `retry_policy` and `endpoint_health`.
"""

from relay.delivery.bulk_resend import count_matching, resend_matching
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.delivery.operator_notifier import OperatorNotifier
from relay.delivery.replay import ReplayFeeder
from relay.delivery.suspension import SendingControl

__all__ = [
    "Dispatcher",
    "OperatorNotifier",
    "ReplayFeeder",
    "SendingControl",
    "count_matching",
    "enqueue",
    "resend_matching",
]
