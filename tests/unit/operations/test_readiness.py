"""Readiness: what is not well says what to do."""

import pytest

from relay.model import MINUTE, SECOND
from relay.operations import readiness
from relay.operations.readiness import MAX_BACKLOG_AGE, Check, Readiness

NOW = 1_709_294_400_000


@pytest.mark.parametrize(
    ("check", "advice"),
    [
        (readiness.scheduler(15 * SECOND, SECOND), "the log says why"),
        (readiness.scheduler(10 * MINUTE, MINUTE), "the log says why"),
        (readiness.store("the disk is full; make room"), "make room"),
        (readiness.delivery_backlog(MAX_BACKLOG_AGE), "delivery.concurrency"),
        (readiness.workspace("a", "unauthorized", "Exec refuses the key; check it", None, NOW), "check it"),
    ],
)
def test_a_failed_check_says_what_to_do(check: Check, advice: str) -> None:
    """Each check that fails gives its reason, and a remedy; one of them is enough not to be ready."""
    assert not check.ok
    assert advice in check.text
    assert not Readiness((readiness.store(None), check)).ready


@pytest.mark.parametrize(
    "check",
    [
        readiness.scheduler(15 * SECOND - 1, SECOND),
        readiness.scheduler(10 * MINUTE - 1, MINUTE),
        readiness.store(None),
        readiness.delivery_backlog(MAX_BACKLOG_AGE - 1),
        readiness.workspace("a", None, None, None, NOW),
        readiness.workspace("a", "rate_limited", "Exec answered 429", NOW, NOW),
    ],
)
def test_a_passed_check_gives_no_advice(check: Check) -> None:
    """Up to its limit each check passes, with a short text."""
    assert check.ok
    assert ";" not in check.text


def test_the_checks_of_exec_can_be_excluded() -> None:
    """The checks of all workspaces have one name; the other checks stay."""
    refused = readiness.workspace("a", "unauthorized", "Exec refuses the key; check it", None, NOW)
    found = Readiness((readiness.store(None), refused))
    assert (found.ready, found.excluding("exec").ready) == (False, True)
    assert found.excluding("store").checks == (refused,)
    assert found.excluding(None) == found


def test_a_temporary_pause_is_described_but_passes() -> None:
    """A workspace paused by a limit is ready; /readyz says why nothing is polled."""
    check = readiness.workspace("a", "rate_limited", "Exec answered 429", NOW + 1, NOW)
    assert (check.ok, check.text) == (True, "Exec answered 429")
