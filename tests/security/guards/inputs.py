"""Incoming requests."""

from tests.security.guard import Guard, also, gone, instead, never, swap

_CONNECTION = "tests/web/test_http_protocol.py"

INPUTS = (
    Guard(
        "request-time",
        "A request, including its body, must arrive within 20 seconds, however slowly it trickles in",
        f"{_CONNECTION}::test_an_incomplete_request_times_out",
        swap("self._limits.read_timeout", "3_600"),
    ),
    Guard(
        "answer-time",
        "The relay closes a connection whose client does not read its answer for 30 seconds",
        f"{_CONNECTION}::test_an_unread_response_is_aborted",
        swap("self._limits.write_timeout", "3_600"),
    ),
    Guard(
        "connections-of-one-address",
        "One IPv4 address or IPv6 /64 has at most 1,000 connections, unless it is a trusted proxy",
        f"{_CONNECTION}::test_connections_of_one_address_are_limited",
        never,
    ),
    Guard(
        "connections",
        "There are at most 2,000 connections, those of waits with an API key apart; one more replaces one with "
        "an unread answer, or the one idle for longest",
        f"{_CONNECTION}::test_the_longest_idle_connection_is_closed_for_a_new_one",
        gone,
    ),
    Guard(
        "hostile-connections",
        "600 hostile connections of three addresses keep no newcomer out: each is answered within a second",
        "tests/web/test_http_protocol.py::test_600_hostile_connections_of_three_addresses_keep_no_newcomer_out",
        swap("2_000", "0"),
    ),
    Guard(
        "pipelined-requests",
        "Requests that clients send before the answer to the one before take turns, and leave time to others",
        "tests/web/test_http_protocol.py::test_pipelined_requests_leave_time_to_newcomers",
        instead("self.loop.call_soon(self._answer_next_request)"),
    ),
    Guard(
        "template-numbers",
        "A template is refused in words, whatever its placeholders hold, numbers of thousands of digits included",
        "tests/unit/formats/test_template.py::test_a_number_of_thousands_of_digits_is_refused",
        swap("except ValueError", "except ZeroDivisionError"),
    ),
    Guard(
        "head-size",
        "A request line and headers have at most 32 KiB",
        f"{_CONNECTION}::test_a_long_head_is_refused",
        swap("4 * 1024", "4 * 1024 * 1024"),
    ),
    Guard(
        "no-http",
        "The relay answers invalid HTTP like any bad request, and neither repeats nor logs its bytes",
        f"{_CONNECTION}::test_malformed_http_is_refused",
        instead("super().send_400_response(msg)"),
    ),
    Guard(
        "request-smuggling",
        "After a request with two lengths (Content-Length and Transfer-Encoding) the relay closes the connection",
        f"{_CONNECTION}::test_two_body_lengths_close_the_connection",
        gone,
    ),
    Guard(
        "log-forging",
        "Text of a request begins no line of the text log, and controls no terminal",
        "tests/unit/telemetry/test_log_format.py::test_a_log_entry_is_one_line",
        gone,
    ),
    Guard(
        "content-encoding",
        "The relay takes no compressed request bodies",
        "tests/web/test_bad_requests.py::test_a_compressed_body_gets_415",
        never,
    ),
    Guard(
        "body-size",
        "A request body has at most 256 KiB",
        "tests/web/test_served.py::test_a_long_body_is_refused",
        never,
    ),
    Guard(
        "batch-size",
        "A batch has at most 1,000 registrations",
        "tests/web/test_registrations.py::test_a_batch_has_at_most_a_thousand_items",
        swap(", max_length=MAX_BATCH", ""),
    ),
    Guard(
        "page-size",
        "A list returns at most 200 rows at a time",
        "tests/web/test_bad_queries.py::test_malformed_queries_are_refused",
        swap(", le=paging.MAX_PAGE_SIZE", ""),
    ),
    Guard(
        "metadata-depth",
        "Metadata is nested at most 10 levels deep",
        "tests/web/test_bad_requests.py::test_malformed_registrations_are_refused",
        never,
    ),
    Guard(
        "json-depth",
        "JSON of a request is nested at most 100 levels deep",
        "tests/web/test_bad_requests.py::test_malformed_json_is_refused",
        gone,
    ),
    Guard(
        "duplicate-names",
        "The relay refuses ambiguous JSON (duplicate names, NaN, lone surrogates)",
        "tests/web/test_bad_requests.py::test_malformed_json_is_refused",
        never,
    ),
    Guard(
        "declared-errors",
        "Every parser raises only its declared errors, and none hangs",
        "tests/fuzz/test_targets.py::test_a_parser_raises_only_what_it_declares",
        swap("binascii.Error, ValueError", "UnicodeDecodeError"),
    ),
    Guard(
        "answer-headers",
        "Every answer forbids framing, sniffing and scripts from other sites",
        "tests/web/test_middleware.py::test_every_response_has_a_request_id_and_security_headers",
        swap("HEADERS.items()", "()"),
    ),
    Guard(
        "no-cors",
        "No page of another site can read an answer: there is no CORS",
        "tests/web/test_middleware.py::test_every_kind_of_response_has_security_headers",
        also('"access-control-allow-origin": "*",'),
    ),
    Guard(
        "server-header",
        "No answer names the server software",
        "tests/web/test_served.py::test_a_registration_over_a_socket",
        gone,
    ),
    Guard(
        "callback-token",
        "An unknown token of Exec's callback gets a 404, and a valid one can only cause a poll",
        "tests/web/test_callbacks.py::test_an_unknown_token_gets_404",
        instead("found = CallbackToken(workspace=next(iter(known)), token=token)"),
    ),
)
