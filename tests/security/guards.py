"""Every promise of SECURITY.md with its guard: the line that keeps it, what takes it out, the test that then fails."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """One promise. `python -m tests.security` puts `without` in the place of `line` and expects `test` to fail."""

    promise: str
    test: str
    """file::test, as pytest takes it."""
    file: str
    line: str
    """Stands in the file exactly once."""
    without: str


_EGRESS, _ADDRESSES, _EXEC = "relay/egress.py", "relay/addresses.py", "relay/exec_api.py"
_ON_SOCKETS, _URLS = "tests/adapters/test_egress_guard.py", "tests/unit/test_callback_urls.py"
_ON_THE_WIRE, _OF_EXEC = "tests/adapters/test_egress.py", "tests/adapters/test_exec_answers.py"
_MARKED = "tests/web/test_marked_secrets.py"

EGRESS = (
    Guard(
        "Loopback, private, link-local and cloud addresses are not dialled, whatever a name resolves to",
        f"{_ON_SOCKETS}::test_a_name_of_this_machine_is_not_dialled",
        _EGRESS,
        'if reason := refusal(address[0], self._rules) if known else "not an internet address":',
        'if reason := None if known else "not an internet address":',
    ),
    Guard(
        "A name that resolves to something else later is judged at each dial (DNS rebinding)",
        f"{_ON_SOCKETS}::test_a_name_that_changes_its_address_is_judged_at_each_dial",
        _EGRESS,
        "            dial.refused.append(reason)\n            raise _Refusal(reason)",
        "            dial.refused.append(reason)",
    ),
    Guard(
        "A URL that names such an address in any spelling, or hides its host, is refused at registration",
        f"{_URLS}::test_a_hostile_url_is_refused",
        _ADDRESSES,
        "        if reason := refusal(address, self.rules):",
        "        if reason := None:",
    ),
    Guard(
        "User names and passwords in a URL are refused, and not repeated",
        f"{_URLS}::test_a_refusal_says_what_is_wrong_and_tells_no_secret",
        _ADDRESSES,
        'if "@" in parts.netloc:',
        "if False:",
    ),
    Guard(
        "What is refused at registration is refused at sending too, whoever put it into the store",
        f"{_ON_SOCKETS}::test_the_url_is_judged_again_at_send",
        _EGRESS,
        "            target = self._judged(url)",
        "            target = URL(url, encoded=True)",
    ),
    Guard(
        "Only https, unless `security.allow_http`",
        f"{_URLS}::test_the_code_says_what_kind_of_refusal_it_is",
        _ADDRESSES,
        "        if not self.rules.allow_http:",
        "        if False:",
    ),
    Guard(
        "`security.allow_networks` opens exactly what it names; cloud metadata only where named as one address",
        "tests/unit/test_addresses.py::test_allowing_opens_exactly_what_it_names",
        _ADDRESSES,
        "return any(network.num_addresses == 1 or address not in _METADATA for network in networks)",
        "return bool(networks)",
    ),
    Guard(
        "IPv4 addresses inside IPv6 ones (mapped, NAT64, 6to4, Teredo) are no freer than by themselves",
        "tests/unit/test_addresses.py::test_an_ipv4_address_inside_ipv6_is_never_freer_than_by_itself",
        _ADDRESSES,
        "        return next((why for inner in held if (why := refusal(inner, rules))), None)",
        "        return None",
    ),
    Guard(
        "`security.deny_networks` wins over everything",
        f"{_ON_SOCKETS}::test_denied_networks_win",
        _ADDRESSES,
        "    if any(one in network for one in (parsed, *held) for network in rules.deny_networks):",
        "    if False:",
    ),
    Guard(
        "Redirects are not followed, to the cloud's metadata or anywhere else",
        f"{_ON_SOCKETS}::test_a_redirect_is_not_followed",
        _EGRESS,
        "data=body, allow_redirects=False)",
        "data=body)",
    ),
    Guard(
        "A certificate must hold the URL's own name, and a kept connection serves no other host",
        f"{_ON_SOCKETS}::test_a_connection_is_never_used_for_another_host",
        _EGRESS,
        "        self._clock = clock\n",
        "        self._clock = clock\n        self._ssl_context.check_hostname = False\n",
    ),
    Guard(
        "No header of a caller breaks out of its line, or frames the request",
        f"{_ON_THE_WIRE}::test_headers_that_break_out_are_not_sent",
        _EGRESS,
        "            if not _fits(name, value):",
        "            if False:",
    ),
)

HOSTILE_ANSWERS = (
    Guard(
        "Of a receiver's answer 16 KiB are read, whatever it sends",
        f"{_ON_THE_WIRE}::test_a_flood_is_cut_off",
        _EGRESS,
        "        if len(body) >= MOST_READ:\n            break",
        "        pass",
    ),
    Guard(
        "An attempt ends within its time, however slowly a receiver drips",
        f"{_ON_THE_WIRE}::test_a_rude_receiver_is_survived",
        _EGRESS,
        "            async with asyncio.timeout(within / 1_000):",
        "            async with asyncio.timeout(None):",
    ),
    Guard(
        "Exec's compressed answers are refused: nothing is decompressed",
        f"{_OF_EXEC}::test_a_compressed_answer_is_faulty",
        _EXEC,
        '    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):',
        "    if False:",
    ),
    Guard(
        "An answer of Exec longer than 1 MiB, or no job at all, settles nothing",
        f"{_OF_EXEC}::test_a_200_that_is_no_job_is_faulty",
        _EXEC,
        "    if job_id is not None and job.id != job_id:",
        "    if False:",
    ),
    Guard(
        "The Exec key goes along no redirect",
        f"{_OF_EXEC}::test_a_client_that_follows_redirects_is_overruled",
        _EXEC,
        "auth=None, follow_redirects=False)",
        "auth=None)",
    ),
)

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
        "    if not _is_loopback(host):",
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
        "tests/unit/test_config.py::test_what_is_wrong_is_said_with_its_place",
        "relay/config/contradictions.py",
        "    if not keys and not _is_loopback(config.server.host):",
        "    if False:",
    ),
    Guard(
        "Only the hash of an API key is kept, of those that the configuration holds too",
        "tests/unit/test_config.py::test_only_the_hash_of_an_api_key_is_kept",
        "relay/config/api_keys.py",
        'values.relay_key(written["key"]).encode()).hexdigest()',
        'values.relay_key(written["key"]).encode()).hexdigest() + written["key"]',
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

INPUTS = (
    Guard(
        "A request's body has at most 256 KiB",
        "tests/web/test_served.py::test_a_body_that_is_too_long",
        "relay/web/reading.py",
        "        if len(body) > MOST:",
        "        if False:",
    ),
    Guard(
        "Metadata is nested at most 10 deep",
        "tests/web/test_bad_requests.py::test_what_is_no_registration",
        "relay/web/fields.py",
        "    if deep > METADATA_DEPTH:",
        "    if False:",
    ),
    Guard(
        "JSON that readers take differently (names twice, NaN, halves of characters) is refused",
        "tests/web/test_bad_requests.py::test_what_is_no_json",
        "relay/web/reading.py",
        "    if len(found) < len(pairs):",
        "    if False:",
    ),
    Guard(
        "Every parser raises what it declares and nothing else, and none hangs",
        "tests/fuzz/test_targets.py::test_a_parser_raises_only_what_it_declares",
        "relay/store/paging.py",
        "    except (binascii.Error, ValueError):",
        "    except UnicodeDecodeError:",
    ),
    Guard(
        "Every answer forbids framing, sniffing and scripts from elsewhere",
        "tests/web/test_surroundings.py::test_every_answer_is_marked_and_guarded",
        "relay/web/surroundings.py",
        "                for name, value in HEADERS.items():",
        "                for name, value in ():",
    ),
    Guard(
        "An unknown token of Exec's callback is no path, and a right one only asks for a look",
        "tests/web/test_callbacks.py::test_an_unknown_token_is_no_path",
        "relay/web/callbacks.py",
        '    if found is None:\n        raise NotFound("unknown_path", problems.UNKNOWN_PATH)\n    job_id',
        "    job_id",
    ),
)

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

GUARDS = (*EGRESS, *HOSTILE_ANSWERS, *KEYS, *SECRETS, *INPUTS, *SENDING)
