"""Who may use it."""

from tests.security.guard import Guard

_LIMITS = "tests/web/test_limits.py"

KEYS = (
    Guard(
        "Each call asks for the scope that it says",
        "tests/web/test_auth.py::test_every_call_asks_for_its_scope",
        "relay/web/auth.py",
        "    if scope not in key.scopes:",
        "    if False:",
    ),
    Guard(
        "Without keys the relay answers to its own machine only, and to no page of another site",
        "tests/web/test_auth.py::test_a_name_that_was_made_to_resolve_here",
        "relay/web/auth.py",
        "    if not _names_loopback(host):",
        "    if False:",
    ),
    Guard(
        "Nor to what a proxy or a tunnel on that machine hands on, whatever `server.public_url` says",
        "tests/web/test_auth.py::test_what_came_through_a_proxy",
        "relay/web/auth.py",
        "    if any(name in headers for name in FORWARDING):",
        "    if False:",
    ),
    Guard(
        "Without keys the relay refuses to listen to others",
        "tests/cli/test_keys.py::test_without_any_key_it_refuses_to_listen_to_others",
        "relay/cli/serve.py",
        "    if not is_loopback(server.host) and not await relay.is_keyed():",
        "    if False:",
    ),
    Guard(
        "A relay that once had a key in its store never answers without one",
        f"{_LIMITS}::test_the_first_key_closes_the_api",
        "relay/key_ring.py",
        "    return live, bool(live) or api_keys.were_made(tx)",
        "    return live, bool(live)",
    ),
    Guard(
        "Only the hash of an API key is kept, of those that the configuration holds too",
        "tests/unit/test_config.py::test_only_the_hash_of_an_api_key_is_kept",
        "relay/config/api_keys.py",
        'entry["hash"] = hash_of(values.relay_key(written["key"]))',
        'entry["hash"] = hash_of(values.relay_key(written["key"])) + written["key"]',
    ),
    Guard(
        "The same of those in the store",
        "tests/cli/test_keys.py::test_only_the_hash_is_kept",
        "relay/cli/keys.py",
        "hash=hash_of(key), scopes=wanted",
        "hash=hash_of(key) + key, scopes=wanted",
    ),
    Guard(
        "A key is 32 random bytes, and keys are compared in constant time, all of them",
        "tests/unit/test_api_keys.py::test_all_keys_are_compared_in_constant_time",
        "relay/api_keys.py",
        "if hmac.compare_digest(key.hash, hash)]",
        "if key.hash == hash]",
    ),
    Guard(
        "A key is revoked within a second, in every relay on the store",
        "tests/usecases/test_key_ring.py::test_a_change_is_heeded_within_a_second",
        "relay/key_ring.py",
        "0 <= self._clock() - self._read_at < FRESH",
        "True",
    ),
    Guard(
        "Sessions of the dashboard end with their key",
        f"{_LIMITS}::test_a_session_ends_with_its_stored_key",
        "relay/store/api_keys.py",
        "    query = select(api_keys).where(api_keys.c.revoked_at.is_(None)).order_by(api_keys.c.name)",
        "    query = select(api_keys).order_by(api_keys.c.name)",
    ),
    Guard(
        "Wrong keys from one address are slowed down: ten at once, then six a minute",
        f"{_LIMITS}::test_guesses_are_slowed",
        "relay/web/limits.py",
        "        if waits := self._guesses.wait(_address_of(request), hash, self._clock()):",
        "        if waits := 0:",
    ),
    Guard(
        "So is logging in",
        f"{_LIMITS}::test_logging_in_is_a_guess_too",
        "relay/web/dashboard/visitor.py",
        "    key = await auth.known(request, api_key.strip())",
        "    key = await auth.key_with(relay, auth.hash_of(api_key.strip()))\n"
        '    if key is None:\n        raise Unauthenticated("x", "x")',
    ),
    Guard(
        "So are tokens of Exec's callback",
        f"{_LIMITS}::test_tokens_of_exec_s_callback_are_guesses_too",
        "relay/web/callbacks.py",
        "        call.limits.was_wrong(call.request, hash)\n",
        "",
    ),
    Guard(
        "Nobody is locked out by the guesses of others, neither from another address nor, once known, from the same",
        f"{_LIMITS}::test_a_known_client_is_not_locked_out",
        "relay/guesses.py",
        "        if (source, hash) in self._right or",
        "        if",
    ),
    Guard(
        "Nobody chooses the address that they count by: only whom `server.trusted_proxies` names may say it",
        "tests/web/test_serving.py::test_a_client_can_not_choose_its_address",
        "relay/web/serving.py",
        "        proxy_headers=bool(trusted_proxies),\n        forwarded_allow_ips=list(_named(trusted_proxies)),\n",
        "",
    ),
    Guard(
        "One key makes at most `security.requests_per_minute` requests a minute",
        f"{_LIMITS}::test_a_key_has_its_pace",
        "relay/web/auth.py",
        "    limits.spend(key.hash)\n",
        "",
    ),
    Guard(
        "The cookie of a session is for this site alone, out of reach of scripts, and Secure over HTTPS",
        "tests/dashboard/test_pages.py::test_session_is_out_of_reach",
        "relay/web/dashboard/visitor.py",
        'httponly=True, samesite="lax", secure=encrypted',
        'samesite="lax", secure=encrypted',
    ),
    Guard(
        "Pages load the relay's own files and nothing else",
        "tests/dashboard/test_pages.py::test_pages_load_nothing_from_elsewhere",
        "relay/web/dashboard/page.py",
        "script-src 'self'",
        "script-src 'self' 'unsafe-inline' https:",
    ),
    Guard(
        "Forms of other sites are refused",
        "tests/dashboard/test_pages.py::test_forms_of_other_sites_are_refused",
        "relay/web/dashboard/visitor.py",
        'not hmac.compare_digest(form.get("csrf", "").encode(), visitor.csrf.encode())',
        "False",
    ),
    Guard(
        "What others wrote stays text on the dashboard",
        "tests/dashboard/test_pages.py::test_texts_of_others_stay_texts",
        "relay/web/dashboard/page.py",
        "        autoescape=True,",
        "        autoescape=False,",
    ),
)
