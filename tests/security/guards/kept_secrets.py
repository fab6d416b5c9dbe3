"""Secrets."""

from tests.security.guard import Guard

_EXEC = "relay/exec_api.py"
_OF_EXEC = "tests/adapters/test_exec_answers.py"
_MARKED = "tests/web/test_marked_secrets.py"

SECRETS = (
    Guard(
        "A receiver that repeats the URL, headers or secrets it was sent gives them to nobody",
        f"{_MARKED}::test_what_a_receiver_repeats_is_hidden",
        "relay/hiding.py",
        "        said = said.replace(secret.encode(), HIDDEN.encode())",
        "        pass",
    ),
    Guard(
        "No call of the API shows a callback URL, header value, key or old secret",
        f"{_MARKED}::test_no_call_tells_a_secret",
        "relay/web/showing.py",
        "url=mask(found.url)",
        "url=found.url",
    ),
    Guard(
        "A crash is logged with where it happened, never with what it held",
        f"{_MARKED}::test_a_crash_tells_no_secret",
        "relay/web/surroundings.py",
        'frames = "".join(traceback.format_tb(error.__traceback__))',
        'frames = "".join(traceback.format_exception(error))',
    ),
    Guard(
        "So is every other error: its kind, its place, and its words only where they are the relay's own",
        "tests/adapters/test_logs.py::test_an_error_is_logged_without_what_it_held",
        "relay/telemetry/logs.py",
        'words = f"{name}: {error}" if isinstance(error, RelayError) else name',
        'words = f"{name}: {error}"',
    ),
    Guard(
        "And what nobody waits for: a task, a callback, a thread that failed",
        "tests/adapters/test_logs.py::test_an_error_that_nobody_waits_for",
        "relay/telemetry/faults.py",
        "    loop.set_exception_handler(told_by_loop)\n",
        "",
    ),
    Guard(
        "And the fault of a verb on the command line",
        "tests/cli/test_faults.py::test_a_fault_is_told_without_what_it_held",
        "relay/cli/__init__.py",
        "    return told(error)",
        "    return repr(error)",
    ),
    Guard(
        "Configuration and store objects print without secrets",
        f"{_MARKED}::test_no_repr_tells_a_secret",
        "relay/model/endpoints.py",
        "    headers: Mapping[str, str] = field(repr=False)",
        "    headers: Mapping[str, str]",
    ),
    Guard(
        "What Exec says of a refused key is told without the key",
        f"{_OF_EXEC}::test_a_refused_key_says_why",
        _EXEC,
        'hidden = _KEY_SHAPED.sub("exec_…", text.replace(self._api_key, "…"))',
        "hidden = text",
    ),
    Guard(
        "What is kept for `Idempotency-Key` holds no secret",
        "tests/web/test_idempotency.py::test_what_is_kept_holds_no_secret",
        "relay/web/idempotency.py",
        "json.dumps([_without_secrets(done.answer), done.location])",
        "json.dumps([done.answer, done.location])",
    ),
    Guard(
        "Faults of the configuration are told without its values",
        "tests/unit/test_config.py::test_no_secret_is_echoed",
        "relay/config_text/values.py",
        'must start with sqlite:/// and name a file, or with postgresql://")',
        'must start with sqlite:/// and name a file, or with postgresql://" + str(value))',
    ),
    Guard(
        "With `security.secret_key`, callback URLs, signing secrets, header values and tokens are sealed in the store",
        "tests/store/test_sealed_store.py::test_secrets_are_sealed_at_rest",
        "relay/sealing.py",
        "        sealed = self._current.aead.encrypt(nonce, text.encode(), place.encode())",
        "        return text",
    ),
    Guard(
        "What was sealed and then changed, or moved to another place of the store, is not used",
        "tests/store/test_sealed_store.py::test_a_row_that_was_tampered_with_is_not_used",
        "relay/sealing.py",
        "        except (InvalidTag, ValueError):\n            raise Unreadable from None",
        "        except (InvalidTag, ValueError):\n            return text",
    ),
    Guard(
        "A key that can't read the store is refused at start",
        "tests/store/test_sealed_store.py::test_a_store_that_the_key_can_not_read_is_refused",
        "relay/store/resealing.py",
        "    if not (strange := sorted(found - seal.key_ids)):",
        "    if not (strange := []):",
    ),
    Guard(
        "The store's files are the relay's user's alone (0600)",
        "tests/store/test_database.py::test_commits_are_synced_and_files_are_private",
        "relay/store/dialect.py",
        "        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))",
        "        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))",
    ),
)
