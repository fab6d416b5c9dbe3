"""Security: encryption of stored secrets, API keys, and limits on requests and logins."""
