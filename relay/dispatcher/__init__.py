"""Dispatching: what is due is leased, sent, then settled."""

from relay.dispatcher.dispatching import GRACE, Dispatcher

__all__ = ["GRACE", "Dispatcher"]
