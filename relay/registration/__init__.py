"""Registering and creating jobs.

`validate` checks a request without the store. The other functions work inside the caller's transaction, so that a batch
commits as a whole, and the response stored for an `Idempotency-Key` commits with its registration.
"""

from relay.registration.exec_callback_hints import Hint, handle_callback_hint
from relay.registration.job_creation import JobCreator
from relay.registration.register import RegistrationResult, raise_if_refused, register, register_batch, withdraw
from relay.registration.request import RegistrationSpec, ValidatedRegistration, validate

__all__ = [
    "Hint",
    "JobCreator",
    "RegistrationResult",
    "RegistrationSpec",
    "ValidatedRegistration",
    "handle_callback_hint",
    "raise_if_refused",
    "register",
    "register_batch",
    "validate",
    "withdraw",
]
