"""Security: encryption of stored secrets, API keys, and limits on requests and logins.

Everything here is pure: time, random bytes and keys are arguments.
"""

from relay.security.api_keys import SCOPES, ApiKey, LocalToken, Scope, generate_api_key, hash_api_key, is_generated
from relay.security.encryption import FieldCipher
from relay.security.login_throttle import LoginThrottle, client_network
from relay.security.rate_limiter import RateLimiter

__all__ = [
    "SCOPES",
    "ApiKey",
    "FieldCipher",
    "LocalToken",
    "LoginThrottle",
    "RateLimiter",
    "Scope",
    "client_network",
    "generate_api_key",
    "hash_api_key",
    "is_generated",
]
