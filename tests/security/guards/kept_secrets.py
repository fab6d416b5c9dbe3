"""Secrets."""

from tests.security.guard import Guard, gone, instead, never, swap

_OF_EXEC = "tests/adapters/polling/test_exec_answers.py"
_MARKED = "tests/web/test_marked_secrets.py"

SECRETS = (
    Guard(
        "repeated-secrets",
        "If a receiver repeats its URL, headers or secrets, the relay hides them",
        f"{_MARKED}::test_secrets_repeated_by_a_receiver_are_redacted",
        gone,
    ),
    Guard(
        "masked-url",
        "No call of the API returns a callback URL, a header value, a key or a previous secret",
        f"{_MARKED}::test_no_call_reveals_a_secret",
        swap("mask_url(row.url)", "row.url"),
    ),
    Guard(
        "crash-log",
        "The log of a crash contains the place in the code, and no values",
        f"{_MARKED}::test_a_crash_reveals_no_secret",
        swap("_frames_of(error)", "repr(error)"),
    ),
    Guard(
        "error-log",
        "The log of any other error contains its type and place, and its message only if the relay wrote it",
        "tests/adapters/telemetry/test_log_format.py::test_an_error_is_logged_without_values",
        swap(" if isinstance(error, RelayError) else name", ""),
    ),
    Guard(
        "unawaited-error",
        "The same applies to failures of tasks, callbacks and threads that nothing awaits",
        "tests/adapters/telemetry/test_log_format.py::test_an_uncaught_error_is_logged_without_secrets",
        gone,
    ),
    Guard(
        "verb-fault",
        "The same applies to errors of the command line",
        "tests/cli/test_faults.py::test_an_internal_error_is_printed_without_values",
        swap("safe_traceback(error)", "repr(error)"),
    ),
    Guard(
        "secretless-repr",
        "The `repr` of configuration and store objects contains no secrets",
        f"{_MARKED}::test_no_repr_reveals_a_secret",
        swap(" = field(repr=False)", ""),
    ),
    Guard(
        "exec-key-in-answer",
        "Messages about a refused Exec key do not contain the key",
        f"{_OF_EXEC}::test_the_reason_of_a_refused_key_is_reported_without_the_key",
        instead("hidden = text"),
    ),
    Guard(
        "idempotency-secrets",
        "Answers stored for `Idempotency-Key` contain no secret",
        "tests/web/test_idempotency.py::test_stored_responses_hold_no_secret",
        swap("_without_secrets(result.answer)", "result.answer"),
    ),
    Guard(
        "replayed-secret",
        "A repeat with an `Idempotency-Key` shows no secret that the first answer did not show",
        "tests/web/test_idempotency.py::test_a_repeat_after_a_rotation_shows_no_secret",
        swap("hmac.compare_digest(_sha256(current), digest)", "True"),
    ),
    Guard(
        "configuration-fault",
        "Messages about the configuration do not contain its values",
        "tests/unit/config/test_config.py::test_no_secret_is_echoed",
        swap('postgresql://")', 'postgresql://" + str(value))'),
    ),
    Guard(
        "encrypted-at-rest",
        "With `security.secret_key`, the store encrypts callback URLs, signing secrets, header values and tokens",
        "tests/store/maintenance/test_reencrypt.py::test_secrets_are_encrypted_at_rest",
        instead("return text"),
    ),
    Guard(
        "ciphertext-place",
        "The relay does not use an encrypted value that was changed, or moved to another row",
        "tests/store/maintenance/test_reencrypt.py::test_row_changed_by_hand_is_refused",
        swap("raise DecryptionError from None", "return text"),
    ),
    Guard(
        "plain-text",
        "With `security.secret_key`, the relay does not use plain text in the place of an encrypted value",
        "tests/store/maintenance/test_reencrypt.py::test_plain_text_in_an_encrypted_column_is_refused",
        never,
    ),
    Guard(
        "unknown-key-id",
        "The relay refuses to start with a key that can't read the store",
        "tests/store/maintenance/test_reencrypt.py::test_store_with_an_unknown_key_is_refused",
        swap("sorted(used - cipher.key_ids)", "[]"),
    ),
    Guard(
        "private-files",
        "Only the relay's user can read the files of the store (0600)",
        "tests/store/engine/test_database.py::test_commits_are_synced_and_files_are_private",
        swap("0o600", "0o644"),
    ),
)
