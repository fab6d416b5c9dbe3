"""The simulator: seeds hold, the same seed gives the same history, and every broken relay is found."""

import subprocess
import sys

import pytest

from tests.simulation.ablations import ABLATIONS, Ablation
from tests.simulation.plan import KINDS, draw
from tests.simulation.shrink import shrink

pytestmark = pytest.mark.timeout(2_000)

_EACH = 100
_WITHIN = 1_800

QUICKLY_FOUND = [one for one in ABLATIONS if one.name == "sends-twice"]
"""A broken relay that the first seed finds, with few acts and jobs."""


def simulated(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m tests.simulation`, in a process of its own: the order of sets belongs to the seed."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN, check=False)


@pytest.mark.parametrize("start", [0, _EACH], ids=["first", "second"])
def test_rules_hold_under_every_seed(start: int) -> None:
    """Whole relays, their world and its faults, 200 seeds: `make simulate` runs more. The same seed gives the same
    history, byte for byte, in another process and with the log of the relays too; another seed has other acts and
    faults."""
    done = simulated("--start", str(start), "--seeds", str(_EACH), "--digests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all rules hold" in done.stdout
    digests = [line for line in done.stdout.splitlines() if line.startswith("seed ")]
    assert len(set(digests)) == _EACH
    alone = simulated("--seed", str(start + 3)).stdout
    assert "registered" in alone
    assert f"{digests[3]}: 0 findings" in alone


@pytest.mark.parametrize("ablation", QUICKLY_FOUND, ids=lambda one: str(one.name))
def test_broken_relay_is_found(ablation: Ablation) -> None:
    """And the report says how to run the seed again, with fewer acts, and running it shows the fault again."""
    done = simulated("--seeds", "1000", "--ablation", ablation.name)
    assert done.returncode == 0, done.stdout + done.stderr
    command = next(line for line in done.stdout.splitlines() if line.startswith("again, shrunk: "))
    arguments = command.partition("ARGS='")[2].rstrip("'").split()
    assert simulated(*arguments).returncode == 1


@pytest.mark.long
@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda one: str(one.name))
def test_every_broken_relay_is_found(ablation: Ablation) -> None:
    """Within 1,000 seeds."""
    done = simulated("--seeds", "1000", "--ablation", ablation.name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kind_of_fault_is_drawn() -> None:
    """In a few hundred seeds, on one relay and on several."""
    drawn = [draw(seed) for seed in range(400)]
    assert {act.kind for plan in drawn for act in plan.acts} == set(KINDS)
    assert {plan.relays for plan in drawn} == {1, 2, 3}


def test_plan_is_shrunk_to_what_it_takes() -> None:
    """Two acts of many and one job."""
    plan = next(plan for plan in map(draw, range(1_000)) if len(plan.acts) >= 9)
    needed = (plan.acts[2], plan.acts[7])
    found = shrink(plan, lambda smaller: all(act in smaller.acts for act in needed))
    assert (found.acts, found.jobs) == ((2, 7), 1)
