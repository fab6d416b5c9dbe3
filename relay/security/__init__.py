"""Security: encryption of stored secrets, API keys, and limits on requests and logins.

Everything here is pure: time, random bytes and keys are arguments.
"""
