"""The model of the protocol: no reachable state breaks a rule, and without any of its rules some state does."""

import pytest

from tests.simulation.model import deliveries, polls
from tests.simulation.model.checker import check
from tests.simulation.model.deliveries import Deliveries
from tests.simulation.model.polls import Polls
from tests.simulation.rules import Rule


@pytest.mark.parametrize(
    "model",
    [
        Deliveries(relays=2, number=1, hurts=3),
        Deliveries(relays=3, number=1, hurts=2),
        Deliveries(relays=2, number=2, hurts=1),
        Deliveries(relays=2, number=1, hurts=2, skew=1),
    ],
    ids=["two-relays", "three-relays", "two-deliveries", "skew"],
)
def test_no_state_of_deliveries_breaks_a_rule(model: Deliveries) -> None:
    """With crashes, relays that stand still, and lost answers, at any moment."""
    report = check(model)
    assert (report.broken, report.way) == (None, ())
    assert report.states > 500


@pytest.mark.parametrize(
    "model", [Polls(relays=2, hurts=2, callbacks=2), Polls(relays=3, hurts=1)], ids=["two-relays", "three-relays"]
)
def test_no_state_of_polls_breaks_a_rule(model: Polls) -> None:
    """With a budget of one request, callbacks at any moment, crashes, and relays that stand still."""
    report = check(model)
    assert (report.broken, report.way) == (None, ())
    assert report.states > 5_000


def test_attempt_leaves_as_much_of_its_lease_as_clocks_differ() -> None:
    """If it does not, a relay whose clock is ahead repeats what is about to be recorded."""
    report = check(Deliveries(relays=2, number=1, hurts=0, skew=1, reserve=0))
    assert report.broken == Rule.LEASE_ONLY_DUE


@pytest.mark.parametrize("rule", sorted(deliveries.RULES), ids=str)
def test_deliveries_need_each_rule(rule: Rule) -> None:
    """Without it the checker finds a way to a broken state."""
    assert check(deliveries.without(Deliveries(hurts=2), rule)).broken is not None


@pytest.mark.parametrize("rule", sorted(polls.RULES), ids=str)
def test_polls_need_each_rule(rule: Rule) -> None:
    """Without it the checker finds a way to a broken state."""
    assert check(polls.without(Polls(), rule)).broken is not None
