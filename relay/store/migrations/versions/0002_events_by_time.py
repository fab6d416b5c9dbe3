"""Events are listed, newest first."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("events_by_time", "events", ["created_at", "id"], unique=False)
