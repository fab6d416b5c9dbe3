"""What these tests share with those of real processes: a sandbox, a receiver, and relays between them."""

from tests.e2e.conftest import stage

__all__ = ["stage"]
