"""Registering jobs: `check` judges a request without the store. The rest works inside the caller's transaction, so that
a batch, or an answer kept for `Idempotency-Key`, is one with what it answers.
"""

from relay.register.hints import Hint, hint
from relay.register.registering import Registered, granted, register, register_all, withdraw
from relay.register.requests import Asked, Checked, Request, check

__all__ = [
    "Asked",
    "Checked",
    "Hint",
    "Registered",
    "Request",
    "check",
    "granted",
    "hint",
    "register",
    "register_all",
    "withdraw",
]
