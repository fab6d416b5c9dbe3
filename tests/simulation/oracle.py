"""The oracle: the verdict of the tortures, and what only a simulation can see."""

import base64
import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from relay.model import DAY, MINUTE, SECOND
from tests.make import SECRET
from tests.simulation.history import Change, broken_rules
from tests.simulation.wire import Receipt
from tests.simulation.world import ROTATING, STANDING, Found, World
from tests.torture.verdict import Evidence, Verdict, judge


def findings(world: World) -> list[str]:
    """All that is wrong; each text begins with the name of what is broken."""
    found = world.found
    verdict = _verdict(world)
    wrong = [f"{name}: {text}" for name, texts in _counted(verdict, found, world) for text in texts]
    wrong += [f"stuck: {text}" for text in found.stuck]
    wrong += [f"mistake: {error!r}" for error in world.loop.mistakes]
    wrong += [f"refused: {text}" for text in found.refused]
    if not (found.clock_set or found.restored):
        wrong += found.late
    wrong += [f"signature: {text}" for text in _signatures(world)]
    if not found.restored:
        wrong += broken_rules(_changes(world), clock_is_steady=not found.clock_set)
    return wrong


def _counted(verdict: Verdict, found: Found, world: World) -> Iterator[tuple[str, list[str]]]:
    yield "lost", verdict.lost
    yield "changed", verdict.changed
    yield "untrue", verdict.untrue
    # After a restore all that the backup did not know is told again, with the same ids.
    yield "duplicate", [] if found.restored else verdict.duplicates
    yield "missing", verdict.missing
    yield "overdraft", verdict.overdrafts


def _verdict(world: World) -> Verdict:
    found = world.found
    kept = [one for one in found.accepted if one.id not in found.withdrawn]
    return judge(
        Evidence(
            accepted=kept,
            standing=STANDING,
            received=[one.received() for one in world.receivers.receipts if one.path != ROTATING],
            secret=SECRET,
            jobs=world.exec.jobs,
            asked=world.exec.records.requests,
            shown=found.shown,
            disturbances=found.disturbances,
            lasting=partial(_lasting, world) if found.restored else bytes,
        )
    )


def _lasting(world: World, body: bytes) -> str:
    """What of a body outlasts a restore. Not its registration and the metadata of that: one that the backup did not
    know was made again, with another id, and now maybe before the end. Nor the scenario if Exec has sent wrong ones:
    asked again, it may send the right one."""
    said = json.loads(body)
    for name in ("registration", "metadata"):
        said["data"].pop(name)
    if any(one.fault == "wrong_shape" for one in world.exec.records.requests):
        said["data"]["job"].pop("scenario")
    return json.dumps(said)


def _changes(world: World) -> list[Change]:
    with closing(sqlite3.connect(world.workshop.path)) as connection:
        return [Change(*row) for row in connection.execute("SELECT * FROM row_history ORDER BY n")]


def _signatures(world: World) -> Iterator[str]:
    """At the endpoint whose secret is rotated: only its secrets sign, and none after its grace."""
    for receipt in world.receivers.receipts:
        if receipt.path == ROTATING:
            yield from _signature(receipt, world.found)


def _signature(receipt: Receipt, found: Found) -> Iterator[str]:
    signed = receipt.headers["webhook-signature"].split(" ")
    by_signature = {_sign(one.secret, receipt): number for number, one in enumerate(found.rotations)}
    used = [by_signature.get(one) for one in signed]
    if None in used:
        yield f"an unknown secret signed {receipt.headers['webhook-id']} at {receipt.at}"
    answered = [
        number
        for number, one in enumerate(found.rotations)
        if one.answered_at is not None and one.answered_at < receipt.at - 3 * SECOND
    ]
    if answered and not found.disturbances and max(answered) not in used:
        yield f"the newest secret did not sign {receipt.headers['webhook-id']} at {receipt.at}"
    for number in used:
        if number is None or number + 1 >= len(found.rotations):
            continue
        later = found.rotations[number + 1]
        # A relay that is off when its clock is set right can't know that it planned by a wrong one.
        if later.answered_at is not None and receipt.at > later.answered_at + DAY + MINUTE + later.ahead:
            yield f"a secret signed {receipt.at - later.answered_at} ms after it was replaced"


def _sign(secret: str, receipt: Receipt) -> str:
    signed = f"{receipt.headers['webhook-id']}.{receipt.headers['webhook-timestamp']}.".encode() + receipt.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
