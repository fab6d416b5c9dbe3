"""What the sandbox is sent: jobs to make, faults to show."""

import contextlib

from pydantic import ValidationError

from relay.sandbox.create_job import BadRequest, parse_create_job
from relay.sandbox.fault_injection import FaultConfig
from tests.fuzz.target import Target


def parse(data: bytes) -> None:
    with contextlib.suppress(ValidationError):
        FaultConfig.model_validate_json(data)
    parse_create_job(data, None)


TARGET = Target(
    "sandbox",
    parse,
    (BadRequest,),
    (
        b'{"user_email": "a@example.com", "prompt": "x", "callback_url": "https://a.b", "callback_headers": {"a": ""}}',
        b'{"user_email": "' + b"a@a." * 500 + b'", "prompt": "x"}',
        b'{"faults": [{"fault": "500", "share": 0.5}], "missing_first": 2, "jobs": {"j1": ["slow", {"kind": "429"}]}}',
    ),
)
