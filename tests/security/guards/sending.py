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
        "compiled-once",
        "A hundred templates of endpoints delay no event: none is compiled again for it",
        "tests/unit/formats/test_template.py::test_a_hundred_templates_are_compiled_once",
        swap("MAX_TEXTS", "64"),
    ),
    Guard(
        "formulas",
        "Texts of others are no formulas in a spreadsheet to which a Zap or a Slack workflow adds rows",
        "tests/unit/formats/test_formats_hostile.py::test_no_text_is_a_formula_in_a_new_row",
        swap(" if is_formula else value", " if False else value"),
    ),
    Guard(
        "links-with-user-names",
        "No link of a message leads to a host behind a user name (`https://exec.com@evil.example/`)",
        "tests/unit/formats/test_message_text.py::test_a_link_with_a_user_name_is_no_link",
        swap(' and "@" not in parsed.netloc', ""),
    ),
    Guard(
        "inert-texts",
        "In chats the texts of others ping nobody; only a metadata value that is a URL becomes a link",
        "tests/unit/formats/test_formats_hostile.py::test_hostile_text_stays_within_the_limits",
        swap('_MENTIONS_AND_LINKS.sub(rf"\\g<0>{WORD_JOINER}", line)', "line"),
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
