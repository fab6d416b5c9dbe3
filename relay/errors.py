"""The relay's errors, as their callers see them.

RelayError
├── ConfigError                the configuration can't be used (CLI exit code 2)
├── StoreError                 the store can't be opened, read or written
│   ├── StoreLocked            another relay uses the SQLite store
│   └── ConstraintViolation    the database refuses a value: trying again fails the same way
└── RequestError               the request is wrong; carries Exec's error envelope
    ├── ValidationFailed       HTTP 400: a field is wrong
    ├── NotFound               HTTP 404
    ├── Conflict               HTTP 409
    └── Gone                   HTTP 410
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_NONE: Mapping[str, Any] = MappingProxyType({})


class RelayError(Exception):
    """Base of every error that the relay raises on purpose. Its text is for people and contains no secret."""


class ConfigError(RelayError):
    """The configuration can't be used; the text names file, line, key and what to write instead."""


class StoreError(RelayError):
    """The store can't be opened, read or written; the text says what to do about it."""


class StoreNotReady(StoreError):
    """The database can't be used yet: it is not reached, it starts, or another relay upgrades the tables."""


class StoreLocked(StoreError):
    """Another process, a running relay, uses the SQLite store."""


class ConstraintViolation(StoreError):
    """The database rejects a value of this transaction, and will each time. Other transactions are not affected."""


class RequestError(RelayError):
    """A refused request, with the fields of Exec's error envelope: `{"error": {type, code, message, field?}}`."""

    status = 400
    type = "invalid_request"

    def __init__(self, code: str, message: str, field: str | None = None, details: Mapping[str, Any] = _NONE) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.details = details
        """Further fields of the envelope."""


class ValidationFailed(RequestError):
    """A field is wrong; nothing was changed."""


class NotFound(RequestError):
    """There is no resource with this id or name."""

    status = 404
    type = "not_found"


class Conflict(RequestError):
    """The request contradicts the current state of a resource."""

    status = 409
    type = "conflict"


class Gone(RequestError):
    """The requested object existed and was deleted."""

    status = 410
    type = "gone"
