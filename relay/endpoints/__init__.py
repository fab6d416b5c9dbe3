"""Endpoints: their validated specification, and changes to them."""
