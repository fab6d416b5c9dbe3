"""What goes out."""

from tests.security.guard import Guard

SENDING = (
    Guard(
        "No subscriber's template keeps an event back from the others",
        "tests/unit/test_template.py::test_no_template_keeps_an_event_back",
        "relay/formats/filling.py",
        "            return _text_or_as_written(value)",
        "            return compiled_text(value)",
    ),
    Guard(
        "Nothing leaves unsigned",
        "tests/unit/test_signing.py::test_nothing_leaves_unsigned",
        "relay/signing.py",
        "    if not valid:",
        "    if False:",
    ),
    Guard(
        "`verify` refuses whatever was changed",
        "tests/unit/test_verify.py::test_anything_changed_is_refused",
        "relay/verify.py",
        "    if True not in fitting:",
        "    if False:",
    ),
    Guard(
        "`verify` refuses what is older than five minutes (replays)",
        "tests/unit/test_verify.py::test_the_window_is_five_minutes_either_way",
        "relay/verify.py",
        "    if age > tolerance:",
        "    if False:",
    ),
)
