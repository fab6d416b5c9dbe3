"""Answers of Exec and of receivers."""

from tests.security.guard import Guard, gone, never, swap

_ON_THE_WIRE = "tests/adapters/egress/test_http_client.py"
_OF_EXEC = "tests/adapters/polling/test_exec_answers.py"

HOSTILE_ANSWERS = (
    Guard(
        "receiver-answer-size",
        "The relay reads at most 16 KiB of a receiver's answer",
        f"{_ON_THE_WIRE}::test_an_endless_body_is_cut_off",
        never,
    ),
    Guard(
        "receiver-bytes",
        "Headers and interim answers count: of one answer the relay reads 64 KiB off the socket, and one read more",
        f"{_ON_THE_WIRE}::test_large_interim_responses_are_a_failure",
        never,
    ),
    Guard(
        "no-decompression",
        "The relay does not decompress a receiver's answer, so a decompression bomb has no effect",
        f"{_ON_THE_WIRE}::test_nothing_is_decompressed",
        gone,
    ),
    Guard(
        "attempt-time",
        "An attempt ends at its deadline, however slowly a receiver answers",
        f"{_ON_THE_WIRE}::test_a_misbehaving_receiver_is_a_failure_of_a_known_kind",
        swap("timeout / 1_000", "None"),
    ),
    Guard(
        "mail-time",
        "The same holds for a mail server: each of the two parts of an attempt ends at that deadline",
        "tests/adapters/egress/test_smtp_client.py::test_a_trickling_mail_server_is_left_at_the_deadline",
        swap(" and attempt.left", ""),
    ),
    Guard(
        "exec-compressed",
        "The relay refuses compressed answers of Exec: it decompresses nothing",
        f"{_OF_EXEC}::test_a_compressed_answer_is_a_failed_poll",
        never,
    ),
    Guard(
        "exec-other-job",
        "An answer of Exec that is longer than 1 MiB, or is not a job, ends no watch; of one that is longer than "
        "128 KiB, the fields of more than 8 KiB are left out",
        f"{_OF_EXEC}::test_a_200_that_is_not_a_job_is_a_failed_poll",
        never,
    ),
    Guard(
        "exec-redirect",
        "The relay sends the Exec key to no redirect target",
        f"{_OF_EXEC}::test_a_client_that_follows_redirects_does_not_follow_one",
        swap(", follow_redirects=False", ""),
    ),
)
