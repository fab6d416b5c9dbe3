"""Request and response bodies of the HTTP API, and the presenters that make responses of stored rows."""
