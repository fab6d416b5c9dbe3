"""What relays on one store agree on: whose turn it is at an endpoint, and who does what one is to do."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("next_slot_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "leader_leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
