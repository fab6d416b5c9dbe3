"""What the sandbox is sent: jobs to make, faults to show."""

import contextlib

from pydantic import ValidationError

from relay.sandbox.creating import Wrong, read
from relay.sandbox.faults import Orders
from tests.fuzz.target import Target


def parse(data: bytes) -> None:
    with contextlib.suppress(ValidationError):
        Orders.model_validate_json(data)
    read(data, None)


TARGET = Target(
    "sandbox",
    parse,
    (Wrong,),
    (
        b'{"user_email": "a@example.com", "prompt": "x", "callback_url": "https://a.b", "callback_headers": {"a": ""}}',
        b'{"user_email": "' + b"a@a." * 500 + b'", "prompt": "x"}',
        b'{"faults": [{"fault": "500", "share": 0.5}], "missing_first": 2, "jobs": {"j1": ["slow", {"kind": "429"}]}}',
    ),
)
