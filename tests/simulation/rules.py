"""The rules of the protocol between relays on one store. Each has one name, in the code, in the model and in the tests.

In `relay/` the marker `# rule: NAME` stands on the line that keeps it. `test_rules.py` finds a rule that one of the
three does not have.
"""

from enum import StrEnum


class Rule(StrEnum):
    """The rules, by their names."""

    STATES_IN_ORDER = "states-in-order"
    LEASE_EXPIRES = "lease-expires"
    LEASE_ONLY_DUE = "lease-only-due"
    LEASE_OUTLASTS_ATTEMPT = "lease-outlasts-attempt"
    RESULT_NEEDS_LEASE = "result-needs-lease"
    SUCCESS_COUNTS_ALWAYS = "success-counts-always"
    ENDED_IS_NOT_DUE = "ended-is-not-due"
    ATTEMPT_BEFORE_RESULT = "attempt-before-result"
    EVENT_WITH_DELIVERIES = "event-with-deliveries"
    EVENT_ONCE = "event-once"
    BUDGET_BEFORE_REQUEST = "budget-before-request"
    LATE_POLL_SPENDS_AGAIN = "late-poll-spends-again"
    HINT_SURVIVES_POLL = "hint-survives-poll"
    ANSWER_AFTER_COMMIT = "answer-after-commit"
