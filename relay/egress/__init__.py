"""Egress: requests to receivers, and the rules about where they may go.

The client itself is `http_client.WebhookHttpClient`: only its users import aiohttp.
"""

from relay.egress.ip_policy import EgressRules, blocked_reason, is_loopback
from relay.egress.result import HttpResponse, RequestFailed, SendResult
from relay.egress.url_policy import mask_url, validate_url

__all__ = [
    "EgressRules",
    "HttpResponse",
    "RequestFailed",
    "SendResult",
    "blocked_reason",
    "is_loopback",
    "mask_url",
    "validate_url",
]
