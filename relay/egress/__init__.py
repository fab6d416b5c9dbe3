"""Egress: the HTTP client for webhooks, and the rules about where it may connect to."""
