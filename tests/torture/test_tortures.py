"""The short forms of the tortures; `make torture` runs the long ones. The verdicts are printed after the tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.torture.conftest import VERDICT
from tests.torture.tortures import TORTURES, Torture

ALWAYS = ("kill-sqlite",)
"""Tried in every run; the others are tried by `make test-long`."""


def case(torture: Torture) -> ParameterSet:
    """The case of a torture, named after it."""
    return pytest.param(torture, id=torture.name, marks=[] if torture.name in ALWAYS else pytest.mark.long)


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("torture", [case(torture) for torture in TORTURES])
async def test_a_torture_loses_nothing(
    torture: Torture, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """By the receiver's and Exec's own records nothing is lost, changed, doubled, missing or overdrawn."""
    if (missing := torture.needs()) is not None:
        assert not os.environ.get("CI"), f"{torture.name} can't be run: {missing}"
        pytest.skip(f"NOT tried here: {missing}")
    verdict = await torture.run(tmp_path, torture.short)
    record_property(VERDICT, verdict.text(f"{torture.what}, {torture.short} rounds"))
    assert verdict.holds, verdict.text(torture.what)
