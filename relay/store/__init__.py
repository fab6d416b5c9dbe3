"""The store: plain functions over a transaction, one file for each kind of thing that it keeps."""
