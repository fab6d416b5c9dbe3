"""Operations: scheduler, clock, retention, readiness: what keeps a relay running besides polling and delivery."""

from relay.operations.api_key_cache import ApiKeyCache
from relay.operations.cluster_notify import ClusterNotifier
from relay.operations.readiness import Readiness
from relay.operations.retention import RetentionJob
from relay.operations.scheduler import Scheduler
from relay.operations.timekeeping import Timekeeper

__all__ = [
    "ApiKeyCache",
    "ClusterNotifier",
    "Readiness",
    "RetentionJob",
    "Scheduler",
    "Timekeeper",
]
