"""Use cases at two relays on one PostgreSQL: interleaved statement by statement, and started at the same time."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path

from relay.errors import RelayError, StoreError
from relay.store.engine.database import Store
from tests.torture.interleaving import Pair, Ran, Side, Work
from tests.torture.operators import (
    USE_CASES,
    UseCase,
    World,
    broken,
    keep,
    lost_answers,
    put_back,
    set_up,
    watcher,
)
from tests.torture.postgresql import postgresql

_SHOWN = 10

PAIRS = tuple(combinations_with_replacement(USE_CASES, 2))
"""Every use case with every other, and with itself."""

_CORE = {
    "withdraw",
    "register elsewhere",
    "register by id",
    "the job ends",
    "delete an endpoint with registrations",
    "delete a standing endpoint",
    "enable",
    "hold",
    "resend many",
    "prune jobs",
}


def pairs_for(rounds: int) -> Sequence[tuple[str, str]]:
    """All pairs; for a single round, the short form, the pairs that matter most for notifications."""
    return PAIRS if rounds > 1 else [pair for pair in PAIRS if set(pair) <= _CORE]


@dataclass(slots=True)
class RaceVerdict:
    """What came of pairs of use cases, however they met."""

    met: int = 0
    pairs: int = 0
    deadlocks: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong, and no two use cases can wait for each other."""
        return not self.wrong and not self.deadlocks

    def text(self, title: str) -> str:
        """As people read it."""
        lines = [
            f"{title}: {'HOLDS' if self.holds else 'BROKEN'}",
            f"  {self.met:>8}  times two use cases met, in {self.pairs} pairs",
            f"  {self.deadlocks.total():>8}  deadlocks",
            *(f"            {number} x {which}" for which, number in self.deadlocks.most_common(_SHOWN)),
            f"  {self.wrong.total():>8}  times something was wrong afterwards",
            *(f"            {number} x {what}" for what, number in self.wrong.most_common(_SHOWN)),
        ]
        return "\n".join(lines)


def _judge(verdict: RaceVerdict, side: Side, names: tuple[str, str], outcomes: tuple[object, object], how: str) -> None:
    pair = " and ".join(names)
    for outcome in outcomes:
        if isinstance(outcome, StoreError) or (isinstance(outcome, Exception) and not isinstance(outcome, RelayError)):
            verdict.wrong[f"{pair}: {type(outcome).__name__}: {str(outcome)[:100]} {how}"] += 1
            return
    found = side.write(lambda tx: [*broken(tx), *lost_answers(tx, names, outcomes)])
    for what in found:
        verdict.wrong[f"{pair}: {what} {how}"] += 1


def interleave(url: str, pairs: Iterable[tuple[str, str]], switches: int, cases: dict[str, UseCase]) -> RaceVerdict:
    """Runs each pair in every order with at most so many changes between the two."""
    verdict, pair = RaceVerdict(), Pair(url)
    third, by = Side(url, 3), watcher()
    try:
        world = third.write(lambda tx: set_up(tx, by))
        third.write(keep)
        for names in pairs:
            verdict.pairs += 1

            def works(names: tuple[str, str] = names) -> tuple[Work, Work]:
                third.write(put_back)
                first, second = (cases[name] for name in names)
                return (lambda side: first(side.write, world)), (lambda side: second(side.write, world))

            for ran in pair.orders(works, switches):
                _count(verdict, third, names, ran)
    finally:
        pair.close()
        third.close()
    return verdict


def _count(verdict: RaceVerdict, side: Side, names: tuple[str, str], ran: Ran) -> None:
    verdict.met += 1
    verdict.deadlocks[" and ".join(names)] += ran.deadlocks
    verdict.deadlocks += Counter()  # without those of which there were none
    _judge(verdict, side, names, ran.outcomes, f"in the order {ran.order}" if len(ran.order) < 40 else "")


async def interleavings(folder: Path, rounds: int) -> RaceVerdict:
    """`rounds` is the number of changes between the two at most."""
    async with postgresql(folder, "-c fsync=off") as server:
        await (await Store.open(server.url)).aclose()
        return await asyncio.to_thread(interleave, server.url, pairs_for(rounds), rounds, dict(USE_CASES))


async def operator_races(folder: Path, rounds: int) -> RaceVerdict:
    """Starts each pair so many times at two relays at once."""
    async with postgresql(folder, "-c fsync=off") as server:
        return await race(server.url, pairs_for(rounds), rounds)


async def race(url: str, pairs: Sequence[tuple[str, str]], rounds: int) -> RaceVerdict:
    """Starts each pair at once at two stores, as two relays have them open; one of them is slightly earlier,
    in turn."""
    stores = [await Store.open(url), await Store.open(url)]
    verdict, third, by, chance = RaceVerdict(), Side(url, 3), watcher(), random.Random("races")
    try:
        world = await asyncio.to_thread(third.write, lambda tx: set_up(tx, by))
        await asyncio.to_thread(third.write, keep)
        for names in pairs:
            verdict.pairs += 1
            for _ in range(rounds):
                await asyncio.to_thread(third.write, put_back)
                verdict.met += 1
                ahead = chance.uniform(-0.004, 0.004)
                outcomes = await asyncio.gather(
                    _do(stores[0], USE_CASES[names[0]], world, max(0.0, ahead)),
                    _do(stores[1], USE_CASES[names[1]], world, max(0.0, -ahead)),
                )
                await asyncio.to_thread(_judge, verdict, third, names, (outcomes[0], outcomes[1]), "")
    finally:
        third.close()
        for store in stores:
            await store.aclose()
    return verdict


async def _do(store: Store, case: UseCase, world: World, after: float) -> object:
    """The result of a use case at one relay."""
    await asyncio.sleep(after)
    loop = asyncio.get_running_loop()

    def write(work: object) -> object:
        return asyncio.run_coroutine_threadsafe(store.write(work), loop).result(60)  # type: ignore[arg-type]

    try:
        return await asyncio.to_thread(partial(case, write, world))
    except Exception as error:
        return error
