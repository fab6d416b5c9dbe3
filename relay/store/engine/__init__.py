"""The store's engine: the database, its dialects, transactions, tables and migrations."""
