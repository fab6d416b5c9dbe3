"""A next version of the tables, as an upgrade is to be: it adds a column, a table and an index, and changes nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("region", sa.Text(), nullable=True))
    op.add_column("polls", sa.Column("bytes", sa.Integer(), server_default="0", nullable=False))
    op.create_table("regions", sa.Column("name", sa.Text(), primary_key=True))
    op.create_index("endpoints_by_region", "endpoints", ["region"])
