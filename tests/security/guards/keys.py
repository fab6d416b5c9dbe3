"""Who may use it."""

from tests.security.guard import Guard, gone, instead, never, swap

_LIMITS = "tests/web/test_rate_limits.py"

KEYS = (
    Guard(
        "scope",
        "Each call asks for the scope that it says",
        "tests/web/test_auth.py::test_every_call_asks_for_its_scope",
        never,
    ),
    Guard(
        "loopback-host",
        "Without keys the relay answers to its own machine only, and to no page of another site",
        "tests/web/test_auth.py::test_a_name_that_was_made_to_resolve_here",
        never,
    ),
    Guard(
        "no-proxy-without-keys",
        "Nor to what a proxy or a tunnel on that machine hands on, whatever `server.public_url` says",
        "tests/web/test_auth.py::test_what_came_through_a_proxy",
        never,
    ),
    Guard(
        "no-listening-without-keys",
        "Without keys the relay refuses to listen to others",
        "tests/cli/test_keys.py::test_without_any_key_it_refuses_to_listen_to_others",
        never,
    ),
    Guard(
        "closed-for-good",
        "A relay that once had a key in its store never answers without one",
        f"{_LIMITS}::test_the_first_key_closes_the_api",
        swap(" or api_keys.were_made(tx)", ""),
    ),
    Guard(
        "configured-key-hash",
        "Only the hash of an API key is kept, of those that the configuration holds too",
        "tests/unit/config/test_config.py::test_only_the_hash_of_an_api_key_is_kept",
        swap("hash_of(", "str("),
    ),
    Guard(
        "stored-key-hash",
        "The same of those in the store",
        "tests/cli/test_keys.py::test_only_the_hash_is_kept",
        swap("hash=hash_of(key)", "hash=key"),
    ),
    Guard(
        "constant-time",
        "A key is 32 random bytes, and keys are compared in constant time, all of them",
        "tests/unit/security/test_api_keys.py::test_all_keys_are_compared_in_constant_time",
        swap("hmac.compare_digest(key.hash, hash)", "key.hash == hash"),
    ),
    Guard(
        "revoked-within-a-second",
        "A key is revoked within a second, in every relay on the store",
        "tests/usecases/operations/test_api_key_cache.py::test_a_change_is_heeded_within_a_second",
        swap("0 <= self._clock() - self._read_at < FRESH", "True"),
    ),
    Guard(
        "session-ends-with-key",
        "Sessions of the dashboard end with their key",
        f"{_LIMITS}::test_a_session_ends_with_its_stored_key",
        swap(".where(api_keys.c.revoked_at.is_(None))", ""),
    ),
    Guard(
        "guesses",
        "Wrong keys from one address are slowed down: ten at once, then six a minute",
        f"{_LIMITS}::test_guesses_are_slowed",
        never,
    ),
    Guard(
        "login-guesses",
        "So is logging in",
        f"{_LIMITS}::test_logging_in_is_a_guess_too",
        instead(
            "key = await auth.key_with(relay, auth.hash_of(api_key.strip()))\n"
            '    if key is None:\n        raise Unauthenticated("x", "x")'
        ),
    ),
    Guard(
        "callback-guesses",
        "So are tokens of Exec's callback",
        f"{_LIMITS}::test_tokens_of_exec_s_callback_are_guesses_too",
        gone,
    ),
    Guard(
        "known-client",
        "Nobody is locked out by the guesses of others, neither from another address nor, once known, from the same",
        f"{_LIMITS}::test_a_known_client_is_not_locked_out",
        swap("(source, hash) in self._right or", ""),
    ),
    Guard(
        "trusted-proxies",
        "Nobody chooses the address that they count by: only whom `server.trusted_proxies` names may say it",
        "tests/web/test_server.py::test_a_client_can_not_choose_its_address",
        instead('forwarded_allow_ips="*",'),
    ),
    Guard(
        "requests-per-minute",
        "One key makes at most `security.requests_per_minute` requests a minute",
        f"{_LIMITS}::test_a_key_has_its_pace",
        gone,
    ),
    Guard(
        "session-cookie",
        "The cookie of a session is for this site alone, out of reach of scripts, and Secure over HTTPS",
        "tests/dashboard/test_pages.py::test_session_is_out_of_reach",
        swap("httponly=True, ", ""),
    ),
    Guard(
        "page-policy",
        "Pages load the relay's own files and nothing else",
        "tests/dashboard/test_pages.py::test_pages_load_nothing_from_elsewhere",
        swap("script-src 'self'", "script-src 'self' 'unsafe-inline' https:"),
    ),
    Guard(
        "foreign-form",
        "Forms of other sites are refused",
        "tests/dashboard/test_pages.py::test_forms_of_other_sites_are_refused",
        swap("or not hmac", "and not hmac"),
    ),
    Guard(
        "escaping",
        "What others wrote stays text on the dashboard",
        "tests/dashboard/test_pages.py::test_texts_of_others_stay_texts",
        swap("True", "False"),
    ),
)
