"""Outgoing requests."""

from tests.security.guard import Guard, never, swap

SENDING = (
    Guard(
        "template-fault",
        "No subscriber's template can stop an event for the others",
        "tests/unit/formats/test_template.py::test_no_template_keeps_an_event_back",
        swap("_text_or_as_written", "compiled_text"),
    ),
    Guard(
        "unsigned",
        "Every notification is signed",
        "tests/unit/signing/test_standard_webhooks.py::test_nothing_leaves_unsigned",
        never,
    ),
    Guard(
        "bad-signature",
        "`verify` refuses any change",
        "tests/unit/test_verify.py::test_anything_changed_is_refused",
        never,
    ),
    Guard(
        "replay",
        "`verify` refuses a timestamp older than five minutes (replays)",
        "tests/unit/test_verify.py::test_the_window_is_five_minutes_either_way",
        never,
    ),
)
