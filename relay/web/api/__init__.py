"""The HTTP API's handlers, one file for each resource. No handler imports another: they share `core` and below."""
