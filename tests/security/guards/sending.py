"""Outgoing requests."""

from tests.security.guard import Guard, gone, never, swap

SENDING = (
    Guard(
        "slots-of-unproven",
        "Endpoints that fail or never succeeded use at most half of all slots, so they delay no other endpoint",
        "tests/usecases/test_admission.py::test_unproven_endpoints_use_at_most_half_of_all_slots",
        gone,
    ),
    Guard(
        "unproven-of-one-key",
        "Of that half one API key gets at most as many slots as it leaves free",
        "tests/usecases/test_admission.py::test_one_key_leaves_slots_of_those_that_never_succeeded_to_other_keys",
        gone,
    ),
    Guard(
        "slots-of-one-key",
        "Slots stay free of one API key's deliveries, even if all of its receivers worked before",
        "tests/usecases/test_admission.py::test_one_key_leaves_slots_to_others_though_its_endpoints_succeeded",
        gone,
    ),
    Guard(
        "attempts-at-one-address",
        "Host names that lead to one address share the slots of one host until they succeed",
        "tests/adapters/egress/test_names.py::test_hosts_of_one_address_share_its_slots",
        never,
    ),
    Guard(
        "slow-names",
        "Names that resolve slowly delay no other name",
        "tests/adapters/egress/test_guard.py::test_names_that_resolve_slowly_delay_no_other_name",
        swap("connections * _THREADS_PER_CONNECTION", "connections"),
    ),
    Guard(
        "slow-mail-servers",
        "Mail servers that answer slowly delay no other mail",
        "tests/adapters/egress/test_smtp_client.py::test_mail_servers_that_trickle_delay_no_other_mail",
        swap("concurrency * _THREADS_PER_MAIL", "8"),
    ),
    Guard(
        "template-fault",
        "No subscriber's template can stop an event for the others",
        "tests/unit/formats/test_template.py::test_a_failing_filter_leaves_its_text_as_written",
        swap("_text_or_as_written", "compiled_text"),
    ),
    Guard(
        "unsigned",
        "Every notification is signed",
        "tests/unit/signing/test_standard_webhooks.py::test_without_a_valid_secret_nothing_is_signed",
        never,
    ),
    Guard(
        "bad-signature",
        "`verify` refuses any change",
        "tests/unit/test_verify.py::test_any_changed_part_is_refused",
        never,
    ),
    Guard(
        "replay",
        "`verify` refuses a timestamp older than five minutes (replays)",
        "tests/unit/test_verify.py::test_timestamps_may_differ_by_five_minutes",
        never,
    ),
)
