"""The HTTP API's handlers, one file a resource."""
