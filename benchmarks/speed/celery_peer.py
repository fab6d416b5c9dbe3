"""The same signed POST as a task of Celery's: what runs in its workers. Its broker is in PEER_BROKER."""

import os
from datetime import UTC, datetime

import httpx
from celery import Celery
from standardwebhooks.webhooks import Webhook

app = Celery("peer", broker=os.environ["PEER_BROKER"])
app.conf.update(
    task_acks_late=True,  # a task that was begun is not lost with its worker
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,  # what its documentation says for many short tasks
)
client = httpx.Client(trust_env=False)


@app.task  # type: ignore[untyped-decorator]
def post(url: str, id: str, body: str, secret: str) -> None:
    """Signs and sends; an error is a task that failed."""
    now = datetime.now(UTC)
    signed = {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, now, body),
    }
    client.post(url, headers={"content-type": "application/json", **signed}, content=body).raise_for_status()
