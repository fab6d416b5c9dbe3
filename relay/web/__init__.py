"""The HTTP edge: the API, and what it says of itself."""
