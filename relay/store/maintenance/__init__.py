"""Maintenance of the store: backup, import, re-encryption, diagnostics."""
