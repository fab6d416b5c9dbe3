"""Pages: each row is on exactly one of them, however similar two rows are."""

from functools import partial

from relay.model import Watch, WatchState
from relay.store.engine import paging
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page
from relay.store.tables import watches
from tests.make import NOON


async def test_job_in_several_workspaces_is_listed_once_for_each(store: Store) -> None:
    """Even if they were registered in the same millisecond, wherever a page ends."""
    spaces = ["a", "b-2", "c_3"]

    def add(tx: Tx) -> None:
        for job in ("j1", "j2"):
            for name in spaces:
                state, why = WatchState.ACTIVE, "just registered"
                made = Watch(workspace=name, job_id=job, state=state, created_at=NOON, next_poll_reason=why)
                assert watches.add(tx, made)

    await store.write(add)
    for limit in range(1, 7):
        found, cursor = [], None
        while True:
            some, cursor = await store.read(partial(watches.page, page=Page(limit, cursor)))
            found += [(one.job_id, one.workspace) for one in some]
            if cursor is None:
                break
        assert found == [(job, name) for job in ("j2", "j1") for name in reversed(spaces)]


def test_cursor_encodes_the_position_of_a_row() -> None:
    """For any key."""
    for place in ((NOON, "dlv_1"), (0, "j" * 128, "w" * 63)):
        assert paging.decode(paging.encode(*place)) == place
