"""What Exec and receivers answer."""

from tests.security.guard import Guard, gone, never, swap

_ON_THE_WIRE = "tests/adapters/egress/test_http_client.py"
_OF_EXEC = "tests/adapters/polling/test_exec_answers.py"

HOSTILE_ANSWERS = (
    Guard(
        "receiver-answer-size",
        "Of a receiver's answer 16 KiB are read, whatever it sends",
        f"{_ON_THE_WIRE}::test_a_flood_is_cut_off",
        never,
    ),
    Guard(
        "receiver-header-size",
        "One header of a receiver's has at most 32 KiB, and headers without end are cut off",
        f"{_ON_THE_WIRE}::test_a_rude_receiver_is_survived",
        swap("_LONGEST_HEADER", "1_000_000_000"),
    ),
    Guard(
        "no-decompression",
        "What a receiver compressed stays so, though it were a gigabyte in a megabyte",
        f"{_ON_THE_WIRE}::test_nothing_is_decompressed",
        gone,
    ),
    Guard(
        "attempt-time",
        "An attempt ends within its time, however slowly a receiver drips",
        f"{_ON_THE_WIRE}::test_a_rude_receiver_is_survived",
        swap("within / 1_000", "None"),
    ),
    Guard(
        "exec-compressed",
        "Exec's compressed answers are refused: nothing is decompressed",
        f"{_OF_EXEC}::test_a_compressed_answer_is_faulty",
        never,
    ),
    Guard(
        "exec-other-job",
        "An answer of Exec longer than 128 KiB, or no job at all, settles nothing",
        f"{_OF_EXEC}::test_a_200_that_is_no_job_is_faulty",
        never,
    ),
    Guard(
        "exec-redirect",
        "The Exec key goes along no redirect",
        f"{_OF_EXEC}::test_a_client_that_follows_redirects_is_overruled",
        swap(", follow_redirects=False", ""),
    ),
)
