"""What these tests share with those of real processes: a sandbox, a receiver, and relays."""

from tests.e2e.conftest import stage

__all__ = ["stage"]
