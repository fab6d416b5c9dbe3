"""The sandbox: what the relay talks to, without an account: an Exec stand-in, a verifying receiver, a rude server."""
