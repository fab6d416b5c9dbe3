"""Signing of webhooks: Standard Webhooks with HMAC and Ed25519. `standard_webhooks` is for any kind of secret."""

from relay.signing import ed25519, standard_webhooks
from relay.signing.standard_webhooks import SignatureScheme

__all__ = ["SignatureScheme", "ed25519", "standard_webhooks"]
