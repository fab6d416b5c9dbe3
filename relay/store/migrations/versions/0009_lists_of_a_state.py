"""Indexes by which a list of one state, status, type or kind is found without walking past all others."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_index("watches_by_state", "watches", ["state", "created_at", "job_id"], unique=False)
    op.create_index("registrations_by_status", "registrations", ["status", "created_at", "id"], unique=False)
    op.create_index("events_by_type", "events", ["type", "created_at", "id"], unique=False)
    op.create_index("endpoints_of_kind", "endpoints", ["kind", "created_at", "id"], unique=False)
    op.drop_index("endpoints_standing", "endpoints")
    op.create_index(
        "watches_leased",
        "watches",
        ["next_poll_at"],
        unique=False,
        sqlite_where=sa.text("leased IS 1"),
        postgresql_where=sa.text("leased IS true"),
    )
    troubled = sa.text("disabled_at IS NOT NULL OR failing_since IS NOT NULL")
    op.create_index(
        "endpoints_troubled",
        "endpoints",
        ["failing_since"],
        unique=False,
        sqlite_where=troubled,
        postgresql_where=troubled,
    )
