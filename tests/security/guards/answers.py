"""What Exec and receivers answer."""

from tests.security.guard import Guard

_EGRESS = "relay/egress.py"
_EXEC = "relay/exec_api.py"
_ON_THE_WIRE = "tests/adapters/test_egress.py"
_OF_EXEC = "tests/adapters/test_exec_answers.py"

HOSTILE_ANSWERS = (
    Guard(
        "Of a receiver's answer 16 KiB are read, whatever it sends",
        f"{_ON_THE_WIRE}::test_a_flood_is_cut_off",
        _EGRESS,
        "        if len(body) >= MOST_READ:\n            break",
        "        pass",
    ),
    Guard(
        "One header of a receiver's has at most 32 KiB, and headers without end are cut off",
        f"{_ON_THE_WIRE}::test_a_rude_receiver_is_survived",
        _EGRESS,
        "            max_field_size=_LONGEST_HEADER,",
        "            max_field_size=1_000_000_000,",
    ),
    Guard(
        "What a receiver compressed stays so, though it were a gigabyte in a megabyte",
        f"{_ON_THE_WIRE}::test_nothing_is_decompressed",
        _EGRESS,
        "            auto_decompress=False,",
        "            auto_decompress=True,",
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
        "An answer of Exec longer than 128 KiB, or no job at all, settles nothing",
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
