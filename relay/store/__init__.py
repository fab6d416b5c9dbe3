"""The store: plain functions over a transaction, one file for each kind of thing that it keeps.

Several relays may share a PostgreSQL. Its transactions are READ COMMITTED: each statement reads what is committed when
the statement begins, so what one statement read may be otherwise by the next. A use case therefore locks the rows that
it decides on before it reads them, or repeats the condition in the statement that writes. SQLite has one writer.

Which row guards what:

- a workspace: its budget, its pause, and how many jobs hints may name;
- a watch: the registrations and the events of its job, and which deliveries they get;
- an endpoint: whether it is there and enabled. It is locked FOR KEY SHARE to be named by a registration or a delivery,
  FOR SHARE to rely on its being disabled, FOR NO KEY UPDATE to change its health or to schedule for it, and FOR UPDATE
  to change what it is known by, or to remove it.

The order in which a use case locks rows:

1. callback tokens, 2. workspaces, 3. watches, by workspace and job id, 4. registrations, 5. endpoints, by id,
6. events, 7. deliveries, 8. idempotency keys.

One exception: registering locks endpoints FOR KEY SHARE before watches. It can't close a circle, because who locks an
endpoint FOR UPDATE holds no watch and waits for none.

A use case that keeps to this order and is committed alone meets no deadlock. Use cases that the writer commits together
lock in the order in which they came, and may; PostgreSQL then ends one transaction, and the writer does each of its use
cases again, alone.
"""
