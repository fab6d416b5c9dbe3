"""Delivery: due deliveries are leased, sent, and their results recorded."""
