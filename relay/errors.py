"""What can go wrong, as the caller sees it.

RelayError
├── ConfigError        the configuration can't be used (CLI exit code 2)
├── StoreError         the store can't be opened, read or written
│   ├── InUse          a SQLite store belongs to a relay that is at work in it
│   └── ValueRefused   the database does not take a value: trying again would end the same
└── Refused            a request is at fault; carries Exec's error envelope
    ├── Invalid        400, or 422's place: a field is wrong
    ├── NotFound       404
    └── Conflict       409
"""


class RelayError(Exception):
    """Base of every error that the relay raises on purpose. Its text is for people and holds no secret."""


class ConfigError(RelayError):
    """The configuration can't be used; the text names file, line, key and what to write instead."""


class StoreError(RelayError):
    """The store can't be opened, read or written; the text says what to do about it."""


class StoreLocked(StoreError):
    """The SQLite store belongs to another process, a relay that is at work in it."""


class ConstraintViolation(StoreError):
    """The database does not take a value of one transaction; every other goes on, and this one fails each time."""


class RequestError(RelayError):
    """A request that can't be granted, in Exec's own envelope: `{"error": {type, code, message, field?}}`."""

    status = 400
    type = "invalid_request"

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class ValidationFailed(RequestError):
    """A field is wrong; nothing was done."""


class NotFound(RequestError):
    """There is no such thing here."""

    status = 404
    type = "not_found"


class Conflict(RequestError):
    """It contradicts what is already there."""

    status = 409
    type = "conflict"
