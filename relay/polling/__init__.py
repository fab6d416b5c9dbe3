"""Polling: asks Exec for the status of watched jobs, decides when, and records what it answers."""

from relay.polling.exec_client import ExecClient
from relay.polling.poller import DuePolls, Poller, rate_limit_of, workload_of
from relay.polling.request_budget import RateLimit
from relay.polling.workspace_status import WorkspaceStatus, count_watched_jobs, load_workspace_status

__all__ = [
    "DuePolls",
    "ExecClient",
    "Poller",
    "RateLimit",
    "WorkspaceStatus",
    "count_watched_jobs",
    "load_workspace_status",
    "rate_limit_of",
    "workload_of",
]
