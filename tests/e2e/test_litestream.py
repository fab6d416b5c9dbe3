"""Litestream beside the relay, as the page shows it, with the real program if it is installed."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import DOCS, commands, sections
from tests.e2e.conftest import API_KEY, Stage, run
from tests.loopback import http_client

PAGE = DOCS / "how-to/litestream.md"
FILES = sections(PAGE)["Copy the file"].files
FOLLOW, RESTORE = commands(PAGE.read_text())
JOBS = 50


async def type_in(folder: Path, command: str) -> asyncio.subprocess.Process:
    """Runs a command of the page, in this folder instead of /data."""
    typed = command.replace("/data/", f"{folder}/")
    return await asyncio.create_subprocess_exec("sh", "-c", f"exec {typed}", cwd=folder, stderr=asyncio.subprocess.PIPE)


def registered(place: Path) -> int:
    """The number of registrations in a store."""
    with closing(sqlite3.connect(place)) as found:
        return int(found.execute("SELECT count(*) FROM registrations").fetchone()[0])


async def restored(folder: Path) -> int:
    """The number of registrations that a restore brings, into a new file."""
    place = folder / "tried.db"
    place.unlink(missing_ok=True)
    process = await type_in(folder, RESTORE.replace(" /data/", f" -o {place} /data/"))
    await process.communicate()
    return registered(place) if place.exists() else 0


@pytest.mark.skipif(shutil.which("litestream") is None, reason="litestream is not on this machine")
@pytest.mark.timeout(180)
async def test_a_litestream_restore_has_every_registration(stage: Stage) -> None:
    """Litestream replicates while jobs are registered, the relay is killed, an empty disk is restored; and `relay
    restore` waits until the file is free."""
    folder, place = stage.folder, stage.folder / "relay.db"
    here = FILES["litestream.yml"].replace("/data/", f"{folder}/").replace("s3://BUCKET/", f"file://{folder}/")
    (folder / "litestream.yml").write_text(here)
    relay = stage.serve()
    await relay.start()
    follows = await type_in(folder, FOLLOW)
    asked = [{"job_id": f"j{number}", "callback_url": f"{stage.receiver_url}/in"} for number in range(JOBS)]
    async with http_client(base_url=relay.url, headers={"authorization": f"Bearer {API_KEY}"}) as http:
        for one in asked:
            (await http.post("/v1/registrations", json=one)).raise_for_status()
    async with asyncio.timeout(60):
        while await restored(folder) < JOBS:
            await asyncio.sleep(0.1)
    assert run("backup", "copy.db", folder=folder).returncode == 0
    await relay.kill()
    refused = run("restore", "copy.db", "--yes", folder=folder)
    assert (refused.returncode, "another program" in refused.stderr) == (1, True)
    follows.kill()
    await follows.communicate()
    for path in folder.glob("relay.db*"):
        path.unlink()
    assert await (await type_in(folder, RESTORE)).wait() == 0
    assert registered(place) == JOBS


def test_the_page_copies_the_images_store() -> None:
    """Both configurations of the page name the file of the container's volume, and its user."""
    [followed] = yaml.safe_load(FILES["litestream.yml"])["dbs"]
    beside = yaml.safe_load(FILES["compose.override.yaml"])["services"]["litestream"]
    image = (DOCS.parent / "Dockerfile").read_text()
    assert followed["path"] == "/data/relay.db"
    assert "relay-data:/data" in beside["volumes"]
    assert f"USER {beside['user']}" in image
