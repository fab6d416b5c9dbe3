"""Traces: what ties a registration to what follows from it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for table in ("watches", "registrations", "deliveries"):
        op.add_column(table, sa.Column("trace", sa.Text(), nullable=True))
