"""Every promise of SECURITY.md with its guard, in the order in which they stand there."""

from tests.security.guard import Guard
from tests.security.guards.answers import HOSTILE_ANSWERS
from tests.security.guards.egress import EGRESS
from tests.security.guards.inputs import INPUTS
from tests.security.guards.kept_secrets import SECRETS
from tests.security.guards.keys import KEYS
from tests.security.guards.sending import SENDING
from tests.security.guards.supplies import SUPPLIES

GUARDS: tuple[Guard, ...] = (*EGRESS, *HOSTILE_ANSWERS, *KEYS, *SECRETS, *INPUTS, *SENDING, *SUPPLIES)
