"""The page "Ten minutes" on a clean machine: Debian by debootstrap, with its own systemd. Run by `make walk`, as root.

The machine is a root directory with processes, mounts and host name of its own; it has no packages but systemd. It
shares the network, so that apt and pip find theirs, and the relay the stand-ins. What it clones is the last commit.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from relay.process import system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Receiver
from tests.docs.machine import SLACK
from tests.docs.pages import DOCS, sections
from tests.docs.test_ten_minutes import QUICK, SOURCE, SYSTEMD
from tests.e2e.conftest import free_port
from tests.make import SECRET
from tests.node import lacks, needs

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build/walk"
"""Debian as debootstrap makes it is kept here: making it takes minutes."""
WHAT = "the way on a machine with systemd"
LONGEST = 600

ENTER = """
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p "/sys/fs/cgroup/$1" && echo $$ > "/sys/fs/cgroup/$1/cgroup.procs"
fi
shift
exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup "$@"
"""
"""Where control groups are one tree, the machine gets a branch of its own: its systemd takes it for the root."""
BOOT = """
set -e
mount --make-rprivate /
mount -t overlay overlay -o lowerdir="$1",upperdir="$2/upper",workdir="$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount --rbind /sys sys
if [ -f sys/fs/cgroup/cgroup.controllers ]; then mount -t cgroup2 cgroup2 sys/fs/cgroup; fi
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount --bind "$2/source.git" mnt
mount --bind /etc/ssl/certs etc/ssl/certs
cat /etc/resolv.conf > etc/resolv.conf
# Nothing but the service may start: this machine shares the kernel's settings and the devices with another.
for one in usr/lib/systemd/system/*.wants/*; do
  case $one in */systemd-journald*) ;; *) ln -sf /dev/null "etc/systemd/system/${one##*/}" ;; esac
done
exec chroot . /usr/bin/env -i container=other /lib/systemd/systemd --unit=walk.target --log-target=null
"""


class Machine:
    """It runs; `folder` is that of its shell."""

    def __init__(self, init: int, root: Path) -> None:
        self._init, self._root, self.folder = init, root, "/root"

    async def type(self, command: str) -> str:
        """The command's output."""
        passed_on = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        passed_on |= {name: value for name, value in os.environ.items() if name in ("PIP_INDEX_URL", "PIP_CERT")}
        known = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "DEBIAN_FRONTEND": "noninteractive",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "url.file:///mnt.insteadOf",
            "GIT_CONFIG_VALUE_0": SOURCE,
            "GIT_CONFIG_KEY_1": "safe.directory",
            "GIT_CONFIG_VALUE_1": "*",
        }
        inside = ["nsenter", "-t", str(self._init), "-m", "-p", "-i", "-u", "--", "chroot", str(self._root)]
        shell = ["sh", "-c", f"cd {self.folder} && {command}"]
        process = await asyncio.create_subprocess_exec(
            *inside, *shell, env=known | passed_on, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), LONGEST)
        assert process.returncode == 0, f"{command}\n{said.decode()}"
        if entered := re.search(r"&& cd (\S+)$", command):
            self.folder += f"/{entered[1]}"
        return said.decode()


def debian() -> Path:
    """The clean root."""
    root = KEPT / "root"
    if not (root / "made").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        asked = ["debootstrap", "--variant=minbase", "--include=systemd,ca-certificates", "bookworm", str(root)]
        done = subprocess.run([*asked, *mirror()], capture_output=True, text=True, timeout=LONGEST, check=False)
        if done.returncode:
            lacks(f"a mirror of Debian ({done.stdout[-200:].strip()})", WHAT)
        (root / "made").touch()
    return root


def mirror() -> list[str]:
    """That of this machine, if it is Debian; else debootstrap's own."""
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(path.read_text() for path in sources if path.is_file())
    return re.findall(r"^(?:URIs: |deb (?:\[[^]]*\] )?)(http\S+debian/?)(?: |$)", text, re.MULTILINE)[:1]


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    """Booted, from a clean root; it is gone afterwards."""
    for program in ("debootstrap", "unshare", "nsenter", "git"):
        needs(program, WHAT)
    if os.geteuid() != 0:
        lacks("root", WHAT)
    lower, own = debian(), KEPT / str(os.getpid())
    for name in ("upper/etc/systemd/system", "work", "root"):
        (own / name).mkdir(parents=True)
    (own / "upper/etc/systemd/system/walk.target").write_text("[Unit]\nDefaultDependencies=no\n")
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, own / "source.git"], check=True)
    branch = f"relay-walk-{os.getpid()}"
    boot = ["sh", "-c", BOOT, "sh", str(lower), str(own)]
    process = await asyncio.create_subprocess_exec("sh", "-c", ENTER, "sh", branch, *boot)
    try:
        made = Machine(await booted(process), own / "root")
        yield made
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        await asyncio.to_thread(shutil.rmtree, own)


async def booted(process: asyncio.subprocess.Process) -> int:
    """The id of the machine's first process, once systemd answers. Skips the test if it can't be started here."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(300):
        if process.returncode is not None:
            lacks("the right to mount and to boot (a container without privileges?)", WHAT)
        if init := children.read_text().strip():
            asked = ["nsenter", "-t", init, "-m", "test", "-S", f"/proc/{init}/root/run/systemd/private"]
            if not (await (await asyncio.create_subprocess_exec(*asked)).wait()):
                return int(init)
        await asyncio.sleep(0.1)
    raise AssertionError("systemd did not start within 30 s")


@pytest.mark.timeout(LONGEST * 2)
async def test_systemd_leads_from_nothing_to_a_slack_message(machine: Machine) -> None:
    """With the page's commands alone; then the installation is repeated, as for a newer version, and keeps its keys."""
    exec = FakeExec(ExecSettings(seed=3, profile=JobProfile(speed=300)), system_clock)
    receiver, port = Receiver(SECRET, system_clock), free_port()
    async with serve(exec.app) as exec_url, serve(receiver.app) as receiver_url:
        channel = f'"callback_url": "{receiver_url}/channel", "format": "slack"'
        settings = QUICK | {
            "RELAY_SERVER__PORT": str(port),
            "RELAY_EXEC__BASE_URL": exec_url + BASE,
            "RELAY_SECURITY__ALLOW_HTTP": "true",
            "RELAY_SECURITY__ALLOW_NETWORKS": "[127.0.0.1/32]",
        }
        for command in SYSTEMD:
            if command.startswith("systemctl"):
                lines = "\\n".join(f"{name}={value}" for name, value in settings.items())
                await machine.type(f"printf '{lines}\\n' >> /etc/relay/environment")
            typed = command.replace("exec_live_...", SANDBOX_KEY).replace(f'"callback_url": "{SLACK}"', channel)
            said = await machine.type(typed.replace(":8080", f":{port}").replace("localhost", "127.0.0.1"))
        assert json.loads(said)["job"]["id"] in exec.jobs
        [told] = await receiver.wait_for(1, path="/channel")
        assert b'"blocks"' in told.body

        [check] = sections(DOCS / "how-to/hosting.md")["A machine with systemd"].commands
        assert "✓ Exec workspace default: accepts the key" in await machine.type(check)

        key = await machine.type("cat /etc/relay/api-key")
        before = await machine.type("cat /etc/relay/environment")
        await machine.type("sh deploy/systemd/install.sh && systemctl restart relay")
        assert await machine.type("cat /etc/relay/environment /etc/relay/api-key") == before + key
        await machine.type(f"curl -s --retry 9 --retry-connrefused http://127.0.0.1:{port}/healthz")
        headers = {"authorization": f"Bearer {key.strip()}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
            jobs = (await http.get(f"http://127.0.0.1:{port}/v1/jobs")).json()["data"]
        assert [job["job_id"] for job in jobs] == list(exec.jobs)

    await works_as_any_user(machine)
    assert await machine.type("stat -c '%a %U' /etc/relay/environment /etc/relay/api-key") == "600 root\n600 root\n"
    assert await machine.type("stat -c %U /var/lib/relay/data/relay.db") == "relay\n"
    shown = await machine.type("systemctl show relay -p User -p NRestarts -p ActiveState")
    assert set(shown.split()) == {"User=relay", "NRestarts=0", "ActiveState=active"}
    await machine.type("systemctl stop relay")
    assert "Result=success" in await machine.type("systemctl show relay -p Result")


async def works_as_any_user(machine: Machine) -> None:
    """As on OpenShift: a user without a name, in the group root, with one folder to write to. Elsewhere the relay says
    whose the folder is."""
    stranger = "setpriv --reuid 1000650000 --regid 0 --clear-groups env -C /srv HOME=/srv/data"
    relay = f"{stranger} RELAY_EXEC__API_KEY={SANDBOX_KEY} /opt/relay/bin/relay"
    await machine.type("install -d -m 770 /srv/data")
    assert (await machine.type(f"{relay} keys create me --scope read")).startswith("relay_")
    assert "complete and checked" in await machine.type(f"{relay} backup data/copy.db")
    assert '"ok": true' in await machine.type(f"{relay} demo --json | tail -n 1")
    await machine.type("chmod 700 /srv/data")
    refused = await machine.type(f"! {relay} keys create other --scope read")
    assert "may write to" in refused
