"""Each rule of the protocol has one name, which stands in the code, in the model and in a test."""

import re
from pathlib import Path

from relay.model import MINUTE
from tests.simulation.ablations import ABLATIONS
from tests.simulation.history import Change, broken_rules
from tests.simulation.model import deliveries, polls
from tests.simulation.rules import Rule

_RELAY = Path(__file__).resolve().parent.parent.parent / "relay"
_MARKER = re.compile(r"# rule: ([a-z-]+)")

JUDGED = frozenset(
    {Rule.STATES_IN_ORDER, Rule.LEASE_ONLY_DUE, Rule.LEASE_EXPIRES, Rule.RESULT_NEEDS_LEASE, Rule.ENDED_IS_NOT_DUE}
)
"""The rules by which the history of rows is judged."""


def test_every_rule_is_marked_in_the_code() -> None:
    """`# rule: NAME` on the line that keeps it, and no marker without a rule."""
    found = {name for path in _RELAY.rglob("*.py") for name in _MARKER.findall(path.read_text())}
    assert found == {rule.value for rule in Rule}


def test_every_rule_is_in_the_model_or_judged() -> None:
    """And broken on purpose: by an ablation, in the model, or in a history of rows."""
    in_model = deliveries.RULES | polls.RULES
    broken = {one.rule for one in ABLATIONS if one.rule is not None}
    assert set(Rule) == in_model | JUDGED | broken
    assert set(Rule) - in_model - JUDGED <= broken


def change(**fields: object) -> Change:
    """A change of a delivery that is fine: its lease is taken when it is due."""
    values: dict[str, object] = {
        "n": 1,
        "table": "delivery",
        "id": "dlv_1",
        "at": MINUTE,
        "old_status": "pending",
        "new_status": "pending",
        "old_lease": None,
        "new_lease": "own_1.1",
        "old_due": MINUTE,
        "new_due": 2 * MINUTE,
        "old_count": 0,
        "new_count": 0,
    }
    return Change(**{**values, **fields})  # type: ignore[arg-type]


def test_history_of_rows_is_judged() -> None:
    """Each rule by a change that breaks it and nothing else."""
    assert list(broken_rules([change()])) == []
    ended = {"new_lease": None, "new_due": None}
    wrong = {
        Rule.STATES_IN_ORDER: change(old_status="delivered", new_status="failed", **ended),
        Rule.LEASE_ONLY_DUE: change(old_due=2 * MINUTE),
        Rule.LEASE_EXPIRES: change(new_due=None),
        Rule.RESULT_NEEDS_LEASE: change(new_lease=None, new_count=1),
        Rule.ENDED_IS_NOT_DUE: change(old_lease="own_1.1", new_status="delivered", new_lease=None),
    }
    assert set(wrong) == JUDGED
    for rule, one in wrong.items():
        assert [text.partition(":")[0] for text in broken_rules([one])] == [rule.value]
