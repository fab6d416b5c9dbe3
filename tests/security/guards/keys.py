"""Access."""

from tests.security.guard import Guard, gone, instead, never, swap

_LIMITS = "tests/web/test_rate_limits.py"

KEYS = (
    Guard(
        "scope",
        "Each call requires its documented scope",
        "tests/web/test_auth.py::test_every_call_requires_its_scope",
        never,
    ),
    Guard(
        "unconfirmed-jobs",
        "Job ids of one key that Exec does not know cost about an eighth of the day's requests, however many they are",
        "tests/unit/polling/test_unconfirmed_jobs.py::test_jobs_registered_meanwhile_get_no_more_slots",
        never,
    ),
    Guard(
        "unconfirmed-of-many-keys",
        "Such ids of many keys take a third of a minute's requests at most, beside one for each key",
        "tests/unit/polling/test_unconfirmed_jobs.py::test_wrong_ids_of_many_keys_take_a_third_of_a_minute",
        swap("min(of_key, max(of_all, int(of_key == self._at_once)))", "of_key"),
    ),
    Guard(
        "doubtful-jobs",
        "Polls after a first 404, and of jobs that only a callback of Exec names, are within that third",
        "tests/unit/polling/test_unconfirmed_jobs.py::test_jobs_that_only_callbacks_name_are_within_that_third",
        never,
    ),
    Guard(
        "turns-by-key",
        "Keys take turns at polls of Exec, however many jobs one of them has registered",
        "tests/flows/test_polls_between_keys.py::test_api_keys_take_turns",
        swap("take_turns(keys, self._served)", "range(len(keys))"),
    ),
    Guard(
        "local-token",
        "Without keys each request needs the token that `relay serve` prints, except for what anyone may do",
        "tests/web/test_auth.py::test_without_keys_each_call_needs_the_local_token",
        swap("relay.local_token is None", "True"),
    ),
    Guard(
        "loopback-host",
        "Without keys the relay answers its own machine only, and no page of another site",
        "tests/web/test_auth.py::test_a_rebound_name_is_refused",
        never,
    ),
    Guard(
        "host-header",
        "A `Host` header with more in it than a host and a port is no name of its own machine",
        "tests/web/test_auth.py::test_a_rebound_name_is_refused",
        swap(" if _HOST_HEADER.fullmatch(host) else None", ""),
    ),
    Guard(
        "no-proxy-without-keys",
        "Nor does it answer a proxy or a tunnel on its machine without keys, whatever `server.public_url` is",
        "tests/web/test_auth.py::test_requests_through_a_proxy_are_refused",
        never,
    ),
    Guard(
        "no-listening-without-keys",
        "Without keys the relay refuses to listen on an address that others can reach",
        "tests/cli/test_keys.py::test_without_any_key_it_refuses_to_listen_to_others",
        never,
    ),
    Guard(
        "no-public-url-without-keys",
        "Without keys the relay refuses to start with a `server.public_url`",
        "tests/cli/test_keys.py::test_without_any_key_it_refuses_to_start_with_a_public_url",
        never,
    ),
    Guard(
        "closed-for-good",
        "Once the store has had a key, the relay always requires one",
        f"{_LIMITS}::test_the_first_key_closes_the_api",
        swap(" or api_keys.any_ever_created(tx)", ""),
    ),
    Guard(
        "configured-key-hash",
        "The relay keeps only the hash of an API key from the configuration",
        "tests/unit/config/test_config.py::test_only_the_hash_of_an_api_key_is_kept",
        swap("hash_api_key(", "str("),
    ),
    Guard(
        "stored-key-hash",
        "The store keeps only the hash of an API key",
        "tests/cli/test_keys.py::test_only_the_hash_is_kept",
        swap("hash=hash_api_key(key)", "hash=key"),
    ),
    Guard(
        "user-header-from-proxy",
        "Only a connection from `server.trusted_proxies` can name the user of the dashboard",
        "tests/dashboard/test_trusted_user.py::test_the_header_is_believed_from_the_proxy_only",
        swap("header is None or not _comes_from_trusted_proxy(request)", "header is None"),
    ),
    Guard(
        "one-user-header",
        "A visitor's copy of the user header or of the role header beside the proxy's own logs nobody in",
        "tests/dashboard/test_trusted_user.py::test_an_unclear_header_logs_nobody_in",
        never,
    ),
    Guard(
        "no-scope-that-its-maker-lacks",
        "Nobody makes a key in the dashboard that may do more than they",
        "tests/dashboard/test_keys.py::test_nobody_gives_a_scope_that_they_lack",
        never,
    ),
    Guard(
        "constant-time",
        "A key is 32 random bytes; the relay compares all keys, in constant time",
        "tests/unit/security/test_api_keys.py::test_all_keys_are_compared_in_constant_time",
        swap("hmac.compare_digest(key.hash, hash)", "key.hash == hash"),
    ),
    Guard(
        "revoked-within-a-second",
        "Revoking a key takes effect within a second in every relay on the store",
        "tests/usecases/operations/test_api_key_cache.py::test_a_created_or_revoked_key_takes_effect_within_a_second",
        swap("0 <= self._clock() - self._read_at < CACHE_TTL", "True"),
    ),
    Guard(
        "session-ends-with-key",
        "Sessions of the dashboard end when their key does",
        f"{_LIMITS}::test_a_session_ends_with_its_stored_key",
        swap(".where(api_keys.c.revoked_at.is_(None))", ""),
    ),
    Guard(
        "key-throttle",
        "Wrong keys are throttled per address: ten at once, then six a minute",
        f"{_LIMITS}::test_wrong_keys_are_throttled",
        never,
    ),
    Guard(
        "login-throttle",
        "Wrong keys at the login are throttled in the same way",
        f"{_LIMITS}::test_logins_count_as_attempts",
        instead(
            "key = await auth.key_with(relay, auth.hash_of(api_key.strip()))\n"
            '    if key is None:\n        raise Unauthenticated("x", "x")'
        ),
    ),
    Guard(
        "callback-throttle",
        "Wrong tokens of Exec's callback are throttled in the same way",
        f"{_LIMITS}::test_wrong_callback_tokens_count_as_attempts",
        gone,
    ),
    Guard(
        "known-client",
        "Wrong keys of one client lock out nobody with a key that the relay made, at the same address either",
        f"{_LIMITS}::test_wrong_keys_lock_out_no_right_key",
        swap("is None", "is None or wait"),
    ),
    Guard(
        "chosen-keys",
        "A key that a person chose can't be guessed faster: it is throttled too, unless it was right before",
        "tests/web/test_rate_limits.py::test_a_chosen_key_cannot_be_guessed_faster",
        never,
    ),
    Guard(
        "trusted-proxies",
        "A client can't choose the address that it counts under: only proxies in `server.trusted_proxies` can set it",
        "tests/web/test_server.py::test_a_client_cannot_choose_its_address",
        instead('forwarded_allow_ips="*",'),
    ),
    Guard(
        "requests-per-minute",
        "One key makes at most `security.requests_per_minute` requests a minute",
        f"{_LIMITS}::test_requests_are_limited_by_key",
        gone,
    ),
    Guard(
        "waiters-of-a-key",
        "Of one key at most `security.waits_per_key` requests wait at a time",
        "tests/web/test_job_waits.py::test_one_key_over_its_limit_is_refused_at_once",
        never,
    ),
    Guard(
        "revoked-waiters",
        "Requests that wait, and streams, end within seconds once their key is revoked",
        "tests/web/test_job_waits.py::test_a_revoked_key_ends_its_waits",
        never,
    ),
    Guard(
        "mcp-key",
        "The MCP server requires an API key as the API does",
        "tests/integrations/test_mcp.py::test_keys_and_scopes_hold",
        gone,
    ),
    Guard(
        "mcp-origin",
        "Pages of other sites can't call the MCP server",
        "tests/integrations/test_mcp.py::test_keys_and_scopes_hold",
        never,
    ),
    Guard(
        "own-registrations",
        "A registration is withdrawn by the key that made it, or by one with `read` or `admin`",
        "tests/web/test_registrations.py::test_a_registration_belongs_to_the_key_that_made_it",
        swap(" or owner not in (None, registration.owner)", ""),
    ),
    Guard(
        "own-metadata",
        "The API shows metadata of a registration to the key that made it, or to one with `read` or `admin`",
        "tests/web/test_registrations.py::test_a_registration_belongs_to_the_key_that_made_it",
        never,
    ),
    Guard(
        "own-endpoints",
        "A key with `subscribe` alone removes and enables only the endpoints that it created",
        "tests/web/test_endpoints.py::test_a_subscription_belongs_to_the_key_that_made_it",
        never,
    ),
    Guard(
        "inside-addresses",
        "Only a key with `admin` sees the address behind a name that the relay does not call",
        "tests/web/test_deliveries.py::test_inside_addresses_are_shown_to_admins_only",
        swap("_NOT_DIALLED.sub(_ADDRESS_HIDDEN, text) if text else text", "text"),
    ),
    Guard(
        "inside-addresses-on-pages",
        "The same applies to the pages of the dashboard",
        "tests/web/test_deliveries.py::test_pages_show_inside_addresses_to_admins_only",
        instead("return html"),
    ),
    Guard(
        "session-cookie",
        "The session cookie is limited to this site, unreadable for scripts, and Secure over HTTPS",
        "tests/dashboard/test_pages.py::test_session_is_out_of_reach",
        swap("httponly=True, ", ""),
    ),
    Guard(
        "page-policy",
        "Pages load only the relay's own files",
        "tests/dashboard/test_pages.py::test_pages_load_nothing_from_elsewhere",
        swap("script-src 'self'", "script-src 'self' 'unsafe-inline' https:"),
    ),
    Guard(
        "foreign-form",
        "The relay refuses forms from other sites",
        "tests/dashboard/test_pages.py::test_forms_of_other_sites_are_refused",
        swap("or not hmac", "and not hmac"),
    ),
    Guard(
        "escaping",
        "The dashboard escapes text from Exec, receivers and users",
        "tests/dashboard/test_pages.py::test_texts_of_others_stay_texts",
        swap("True", "False"),
    ),
    Guard(
        "foreign-origin",
        "The relay refuses a form whose `Origin` is another site, however it is written",
        "tests/web/test_middleware.py::test_a_malformed_origin_is_refused",
        never,
    ),
)
