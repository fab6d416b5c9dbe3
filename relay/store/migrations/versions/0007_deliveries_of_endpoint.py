"""An index by which the newest deliveries of an endpoint are found without sorting all of them."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("deliveries_of_endpoint_by_time", "deliveries", ["endpoint_id", "created_at", "id"], unique=False)
