"""Secrets."""

from tests.security.guard import Guard, gone, instead, swap

_OF_EXEC = "tests/adapters/polling/test_exec_answers.py"
_MARKED = "tests/web/test_marked_secrets.py"

SECRETS = (
    Guard(
        "repeated-secrets",
        "A receiver that repeats the URL, headers or secrets it was sent gives them to nobody",
        f"{_MARKED}::test_what_a_receiver_repeats_is_hidden",
        gone,
    ),
    Guard(
        "masked-url",
        "No call of the API shows a callback URL, header value, key or old secret",
        f"{_MARKED}::test_no_call_tells_a_secret",
        swap("mask(found.url)", "found.url"),
    ),
    Guard(
        "crash-log",
        "A crash is logged with where it happened, never with what it held",
        f"{_MARKED}::test_a_crash_tells_no_secret",
        swap("format_tb(error.__traceback__)", "format_exception(error)"),
    ),
    Guard(
        "error-log",
        "So is every other error: its kind, its place, and its words only where they are the relay's own",
        "tests/adapters/telemetry/test_log_format.py::test_an_error_is_logged_without_what_it_held",
        swap(" if isinstance(error, RelayError) else name", ""),
    ),
    Guard(
        "unawaited-error",
        "And what nobody waits for: a task, a callback, a thread that failed",
        "tests/adapters/telemetry/test_log_format.py::test_an_error_that_nobody_waits_for",
        gone,
    ),
    Guard(
        "verb-fault",
        "And the fault of a verb on the command line",
        "tests/cli/test_faults.py::test_a_fault_is_told_without_what_it_held",
        swap("told(error)", "repr(error)"),
    ),
    Guard(
        "secretless-repr",
        "Configuration and store objects print without secrets",
        f"{_MARKED}::test_no_repr_tells_a_secret",
        swap(" = field(repr=False)", ""),
    ),
    Guard(
        "exec-key-in-answer",
        "What Exec says of a refused key is told without the key",
        f"{_OF_EXEC}::test_a_refused_key_says_why",
        instead("hidden = text"),
    ),
    Guard(
        "idempotency-secrets",
        "What is kept for `Idempotency-Key` holds no secret",
        "tests/web/test_idempotency.py::test_what_is_kept_holds_no_secret",
        swap("_without_secrets(done.answer)", "done.answer"),
    ),
    Guard(
        "configuration-fault",
        "Faults of the configuration are told without its values",
        "tests/unit/config/test_config.py::test_no_secret_is_echoed",
        swap('postgresql://")', 'postgresql://" + str(value))'),
    ),
    Guard(
        "sealed-at-rest",
        "With `security.secret_key`, callback URLs, signing secrets, header values and tokens are sealed in the store",
        "tests/store/test_encrypted_store.py::test_secrets_are_sealed_at_rest",
        instead("return text"),
    ),
    Guard(
        "sealed-place",
        "What was sealed and then changed, or moved to another place of the store, is not used",
        "tests/store/test_encrypted_store.py::test_a_row_that_was_tampered_with_is_not_used",
        swap("raise Unreadable from None", "return text"),
    ),
    Guard(
        "unknown-key-id",
        "A key that can't read the store is refused at start",
        "tests/store/test_encrypted_store.py::test_a_store_that_the_key_can_not_read_is_refused",
        swap("sorted(found - seal.key_ids)", "[]"),
    ),
    Guard(
        "private-files",
        "The store's files are the relay's user's alone (0600)",
        "tests/store/engine/test_database.py::test_commits_are_synced_and_files_are_private",
        swap("0o600", "0o644"),
    ),
)
