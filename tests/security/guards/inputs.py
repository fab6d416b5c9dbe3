"""What comes in."""

from tests.security.guard import Guard

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
        '        raise NotFound("unknown_path", problems.UNKNOWN_PATH)\n',
        "        found = CallbackToken(workspace=next(iter(known)), token=token)\n",
    ),
)
