"""Plain functions over a transaction, one file a table or aggregate."""
