"""The relay: turns Exec's poll-only Scenario Studio jobs into signed notifications.

For those who receive them: `from relay import Unverified, verify`.
"""

from relay.verify import Unverified, verify

__all__ = ["Unverified", "__version__", "verify"]

__version__ = "0.1.0"
