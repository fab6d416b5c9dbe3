"""The sandbox: what the relay talks to, without an account: an Exec stand-in and a verifying receiver."""
