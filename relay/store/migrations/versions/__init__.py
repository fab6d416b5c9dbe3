"""One file a version of the tables, in their order."""
