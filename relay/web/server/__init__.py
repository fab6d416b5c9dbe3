"""The HTTP server: protocol, limits, middleware."""
