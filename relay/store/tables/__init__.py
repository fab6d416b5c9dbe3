"""One file for each table or aggregate: plain functions that take a transaction first and return values of the model.

Import the files themselves: `from relay.store.tables import deliveries, watches`.
"""
