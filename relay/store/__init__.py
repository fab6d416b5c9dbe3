"""The store: plain functions on a transaction, one file for each table or aggregate (`relay.store.tables`).

Several relays may share a PostgreSQL. Its transactions are READ COMMITTED: each statement reads what is committed when
the statement begins, so a row may change between two statements. A use case therefore locks the rows that it decides
on before it reads them, or repeats the condition in the statement that writes. SQLite has one writer.

Which row guards which facts:

- a workspace: its budget, its pause, and how many jobs hints may name;
- a watch: the registrations and the events of its job, and which deliveries they get;
- a living message: the address of a chat's message, and which relay works on it. Its use cases lock nothing else;
- a replay: how far it is, and whether it goes on;
- an endpoint: whether it exists and is enabled. It is locked FOR KEY SHARE before a registration or delivery names it,
  FOR SHARE while it must stay disabled, FOR NO KEY UPDATE to change its health or to schedule for it, and FOR UPDATE to
  change its fingerprint or to remove it.

The order in which a use case locks rows:

1. callback tokens, 2. workspaces, 3. watches, by workspace and job id, 4. registrations, 5. replays,
6. endpoints, by id, 7. events, 8. deliveries, 9. idempotency keys.

One exception: registering locks endpoints FOR KEY SHARE before watches. This causes no deadlock, because a use case
that locks an endpoint FOR UPDATE holds no watch and waits for none.

A use case that keeps to this order and is committed alone causes no deadlock. Of those that the writer commits
together, the ones that begin with endpoints or deliveries run last (`at_end`), so those of one workspace keep to the
order as well. Those of several workspaces lock in the order of their arrival, and may cause a deadlock; PostgreSQL then
aborts one transaction, and the writer runs each of its use cases again, alone.
"""

from relay.store.engine.database import Store, Tx, exists, read_only, write_offline
from relay.store.engine.paging import Page
from relay.store.maintenance.reencrypt import open_store

__all__ = ["Page", "Store", "Tx", "exists", "open_store", "read_only", "write_offline"]
