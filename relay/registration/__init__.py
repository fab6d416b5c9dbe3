"""Registering jobs: `validate` judges a request without the store. The rest works inside the caller's transaction, so
that a batch, or an answer kept for `Idempotency-Key`, is one with what it answers.
"""

from relay.registration.exec_callback_hints import Hint, handle_callback_hint
from relay.registration.register import RegistrationResult, raise_if_refused, register, register_batch, withdraw
from relay.registration.request import RegistrationSpec, TimedRequest, ValidatedRegistration, validate

__all__ = [
    "Hint",
    "RegistrationResult",
    "RegistrationSpec",
    "TimedRequest",
    "ValidatedRegistration",
    "handle_callback_hint",
    "raise_if_refused",
    "register",
    "register_batch",
    "validate",
    "withdraw",
]
