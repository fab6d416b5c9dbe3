"""What every handler uses: routes, authentication, errors, request parsing, idempotency."""
