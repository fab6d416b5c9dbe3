"""The power cut is real: a disk that only claims to sync loses registrations answered with 201."""

from pathlib import Path

import pytest

from tests.torture.power import cut_rounds


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_disk_that_lies_about_sync_is_detected(tmp_path: Path) -> None:
    """The verdict counts the missing registrations."""
    verdict = await cut_rounds(tmp_path, 2, lies=True)
    assert verdict.missing
    assert verdict.lost
    assert not verdict.holds
