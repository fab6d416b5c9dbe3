"""What comes in."""

from tests.security.guard import Guard

_CONNECTION = "tests/web/test_connection.py"

INPUTS = (
    Guard(
        "A request has 20 seconds, its body included; a byte now and then keeps no connection open",
        f"{_CONNECTION}::test_a_request_that_stops_half_way",
        "relay/web/connection.py",
        "self.loop.call_later(self._bounds.request_within, self._too_slow)",
        "self.loop.call_later(3_600, self._too_slow)",
    ),
    Guard(
        "An answer that nobody takes is not kept for longer than 30 seconds",
        f"{_CONNECTION}::test_an_answer_that_nobody_reads",
        "relay/web/connection.py",
        "self.loop.call_later(self._bounds.answer_taken_within, self.transport.abort)",
        "self.loop.call_later(3_600, self.transport.abort)",
    ),
    Guard(
        "One address has at most 200 connections, unless it is a trusted proxy's",
        f"{_CONNECTION}::test_one_address_has_its_share",
        "relay/web/connection.py",
        "            if own >= self._bounds.of_one_address:",
        "            if False:",
    ),
    Guard(
        "There are at most 500 connections; for one more the one that waits longest for a request makes room",
        f"{_CONNECTION}::test_the_slowest_makes_room",
        "relay/web/connection.py",
        "        min(waiting, key=lambda found: found[0])[1].transport.abort()\n",
        "",
    ),
    Guard(
        "A request's first line and headers have at most 32 KiB",
        f"{_CONNECTION}::test_a_head_that_is_too_long",
        "relay/web/connection.py",
        "_PIECE = 4 * 1024",
        "_PIECE = 4 * 1024 * 1024",
    ),
    Guard(
        "What is no HTTP is answered as all else is, and neither repeated nor logged",
        f"{_CONNECTION}::test_what_is_no_http",
        "relay/web/connection.py",
        '            self._refuse(Invalid("invalid_http", "this is no HTTP request"))',
        "            super().send_400_response(msg)",
    ),
    Guard(
        "A request's body has at most 256 KiB",
        "tests/web/test_served.py::test_a_body_that_is_too_long",
        "relay/web/reading.py",
        "        if len(body) > MOST:",
        "        if False:",
    ),
    Guard(
        "A batch has at most 1,000 registrations",
        "tests/web/test_registrations.py::test_a_thousand_at_once",
        "relay/web/schemas.py",
        "Field(min_length=1, max_length=BATCH_MOST)",
        "Field(min_length=1)",
    ),
    Guard(
        "A list shows at most 200 rows at a time",
        "tests/web/test_bad_queries.py::test_what_is_no_query",
        "relay/web/queries.py",
        "Field(ge=1, le=paging.MOST)",
        "Field(ge=1)",
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
        "No page of another site reads an answer: there is no CORS",
        "tests/web/test_surroundings.py::test_every_kind_of_answer_is_guarded",
        "relay/web/surroundings.py",
        '    "x-content-type-options": "nosniff",',
        '    "x-content-type-options": "nosniff",\n    "access-control-allow-origin": "*",',
    ),
    Guard(
        "No answer says what serves it",
        "tests/web/test_served.py::test_a_registration",
        "relay/web/serving.py",
        "        server_header=False,",
        "        server_header=True,",
    ),
    Guard(
        "An unknown token of Exec's callback is no path, and a right one only asks for a look",
        "tests/web/test_callbacks.py::test_an_unknown_token_is_no_path",
        "relay/web/callbacks.py",
        '        raise NotFound("unknown_path", problems.UNKNOWN_PATH)\n',
        "        found = CallbackToken(workspace=next(iter(known)), token=token)\n",
    ),
)
