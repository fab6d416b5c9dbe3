"""Polling: asking Exec for the status of watched jobs."""
