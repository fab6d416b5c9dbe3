"""What every handler needs: routes, authentication, errors, request parsing, idempotency."""
