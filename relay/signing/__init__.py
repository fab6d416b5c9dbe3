"""Signing of webhooks: Standard Webhooks with HMAC and Ed25519."""
