"""Exec in trouble for hours: down, flapping, lying, refusing the key. Meanwhile jobs end and are registered.

A 404 that lasts is not among the lies: the relay believes it after two minutes, as it says (`job.not_found`).
"""

from pathlib import Path

from relay.model import HOUR, MINUTE
from relay.sandbox.fault_injection import FaultConfig, FaultRule
from tests.torture.days import Days, days
from tests.torture.verdict import Verdict

DOWN = (("503",), ("500",), ("502", "closed"), ("401",), ("429",))
LIES = ("not_json", "wrong_shape", "other_job", "truncated", "unknown_status", "huge")
"""As many polls as not come back as one of these."""


async def exec_trouble(_folder: Path, rounds: int) -> Verdict:
    """Each round has one kind of trouble, and some quiet hours after it."""
    async with days() as world:
        for number in range(rounds):
            await world.pass_by(world.rng.randrange(HOUR))
            await (_down, _flapping, _lying)[number % 3](world)
            order(world)
            await world.pass_by(world.rng.randrange(3 * HOUR))
        return await world.finish()


async def _down(world: Days) -> None:
    """Exec fails for hours."""
    order(world, *world.rng.choice(DOWN))
    await world.pass_by(world.rng.randrange(HOUR, 7 * HOUR))


async def _flapping(world: Days) -> None:
    """Exec works and fails in turn, for seconds or minutes."""
    for _ in range(10):
        order(world, *world.rng.choice(DOWN))
        await world.pass_by(world.rng.randrange(10 * MINUTE))
        order(world)
        await world.pass_by(world.rng.randrange(10 * MINUTE))


async def _lying(world: Days) -> None:
    """Exec answers 200 with wrong contents."""
    order(world, *LIES, share=0.9)
    await world.pass_by(world.rng.randrange(HOUR, 5 * HOUR))


def order(world: Days, *kinds: str, share: float = 1.0) -> None:
    """From now on this share of the polls fails, each kind equally often; without a kind none does."""
    troubles = tuple(FaultRule(kind=kind, share=share / len(kinds)) for kind in kinds)
    world.world.exec.faults.order(FaultConfig(faults=troubles), world.world.clock())
