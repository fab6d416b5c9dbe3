"""The relay: turns Exec's poll-only Scenario Studio jobs into signed notifications."""

__version__ = "0.1.0"
