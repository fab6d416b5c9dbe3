"""Work on a whole store: backup and restore, a new encryption key, the move to PostgreSQL, checks and reports."""
