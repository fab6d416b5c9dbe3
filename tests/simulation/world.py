"""The world of a simulation: Exec, receivers, clients and operators around the machines, and what is done to them."""

import asyncio
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import httpx

from relay import config as configuration
from relay.config import Config
from relay.model import DAY, SECOND, Instant
from relay.polling.request_budget import MARGIN
from relay.sandbox.exec_server import ExecSettings, FakeExec
from relay.sandbox.fault_injection import FaultConfig, FaultRule
from relay.sandbox.job_simulation import Job, JobProfile
from relay.sandbox.rate_limits import Limits
from relay.security.api_keys import hash_api_key
from relay.service import Surroundings
from relay.store.maintenance import backup
from relay.store.maintenance.restore import carry_over
from tests.make import SECRET
from tests.simulation.history import HAS_LEASE, WAS_SPENT
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.machine import Bell, Machine, Metronome, Workshop
from tests.simulation.plan import Act, Plan
from tests.simulation.rules import Rule
from tests.simulation.wire import ExecWire, Lost, Network, Receivers, SimulatedSender
from tests.torture.verdict import Accepted, Disturbance

START = 1_709_294_400_000
"""2024-03-01T12:00:00Z, when every simulation begins."""

API_KEY = "relay_" + "a" * 43
EXEC_KEYS = tuple("exec_live_" + letter * 40 for letter in "ab")
STANDING = ("/standing/all", "/standing/archive")
ROTATING = "/rotating"
RECEIVERS = "http://receivers.test"
_PATHS = (*STANDING, "/shared/0", ROTATING)

_ANSWERS_WITHIN = 5.0
_BOOTS_WITHIN = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0
"""Seconds that a client waits before it asks again: longer each time."""
_CALM_WITHIN = 40 * 60.0
"""Seconds that all work may take once nothing goes wrong any more: pauses last minutes, leases seconds."""
_CALM_ROUND, _CALM_LOOK = 40.0, 2.0
_DUE = (
    "SELECT 1 FROM watches WHERE next_poll_at <= :at LIMIT 1",
    "SELECT 1 FROM deliveries WHERE next_attempt_at <= :at LIMIT 1",
)
_DISABLED = "SELECT 1 FROM endpoints WHERE disabled_at IS NOT NULL LIMIT 1"
_REGISTERED = "SELECT 1 FROM registrations WHERE id = :id"
_UNFINISHED = (
    "SELECT 1 FROM watches WHERE state = 'active' LIMIT 1",
    "SELECT 1 FROM deliveries WHERE status = 'pending' LIMIT 1",
)


@dataclass(slots=True)
class Rotation:
    """A new secret of the rotating endpoint. `answered_at` is None until the relay has answered."""

    secret: str
    answered_at: Instant | None = None
    ahead: int = 0
    """How far ahead the relay's clock may have been then, in milliseconds."""


@dataclass(slots=True)
class Found:
    """What clients and operators were told, and what was done, for the oracle."""

    accepted: list[Accepted] = field(default_factory=list)
    accepted_at: dict[str, Instant] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    rotations: list[Rotation] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)
    stuck: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """Attempts that began although their lease was too short, and polls long after they were spent."""
    restored: bool = False
    clock_set: bool = False


class Permit:
    """Whether a relay may run: only if no act keeps it away."""

    def __init__(self) -> None:
        self._keeping_away = 0
        self._is_given = asyncio.Event()
        self._is_given.set()

    def take(self) -> None:
        """One more act keeps the relay away."""
        self._keeping_away += 1
        self._is_given.clear()

    def give_back(self) -> None:
        """The act is over."""
        self._keeping_away -= 1
        if not self._keeping_away:
            self._is_given.set()

    async def wait(self) -> None:
        """Returns when the relay may run."""
        await self._is_given.wait()


@lru_cache
def _configuration(exec_key: str, per_minute: int, strategy: str, tick: float, path: str) -> Config:
    sections: dict[str, Any] = {
        "exec": {
            "base_url": "http://exec.test/rest/v1",
            "api_key": exec_key,
            "timeout": "2s",
            "budget": {"per_minute": per_minute, "per_day": 1_000_000, "share": 1.0},
        },
        "polling": {"strategy": strategy, "interval": "3s", "tick": f"{tick:g}s"},
        "delivery": {"timeout": "2s", "schedule": ["0s", "1s", "3s", *["10s"] * 45]},
        "storage": {"url": f"sqlite:///{path}"},
        "security": {
            "api_keys": [{"name": "client", "hash": hash_api_key(API_KEY)}],
            "allow_http": True,
        },
        "endpoints": [
            {"name": path.rpartition("/")[2], "url": RECEIVERS + path, "secret": SECRET} for path in STANDING
        ],
    }
    return configuration.from_mapping(sections)


class World:
    """One simulation."""

    def __init__(self, plan: Plan, loop: SimulatedLoop, workshop: Workshop) -> None:
        self.plan, self.loop, self.workshop = plan, loop, workshop
        self.found = Found()
        self.history: list[str] = []
        self._jobs_rng, self._chance, self._network_rng, self._beats_rng = (
            random.Random(f"{name} {plan.seed}") for name in ("jobs", "chance", "network", "beats")
        )
        self._faults = Counter[str]()
        self.network = Network(loop, self._network_rng, self._faults)
        self.receivers = Receivers(self.wall, random.Random(f"receivers {plan.seed}"), self._faults)
        limits = Limits(per_minute=plan.per_minute, per_day=None, creates_per_minute=None)
        self.exec = FakeExec(ExecSettings(keys=EXEC_KEYS[:1], limits=limits, seed=plan.seed, keep=100_000), self.wall)
        self._exec_key = self._valid_key = EXEC_KEYS[0]
        bell = Bell(random.Random(f"bell {plan.seed}"), self._faults)
        self.machines = [
            Machine(
                number,
                loop,
                workshop,
                self.wall,
                random.Random(f"machine {number} {plan.seed}"),
                plan.relays == 1,
                bell,
                self._faults,
            )
            for number in range(plan.relays)
        ]
        self._stopped: set[int] = set()
        """Relays that have stopped as asked: they repeat nothing."""
        self._allowed = [Permit() for _ in self.machines]
        """Whether each relay may run."""
        self._token: str | None = None
        self._rotating: str | None = None
        self._rotation = asyncio.Lock()

    def wall(self) -> Instant:
        """The true time."""
        return START + round(self.loop.time() * 1_000)

    @property
    def faults(self) -> Counter[str]:
        """The faults that befell something, by kind: one that an act orders and nothing meets does not count."""
        ordered = sum(asked.fault is not None for asked in self.exec.records.requests)
        return self._faults + Counter({"Exec trouble": ordered})

    def note(self, text: str) -> None:
        """One line of the history."""
        self.history.append(f"{self.loop.time():10.4f} {text}")

    # --- the machines ----------------------------------------------------------------------------------------------

    def config(self) -> Config:
        """The configuration of every relay."""
        plan = self.plan
        return _configuration(self._exec_key, plan.per_minute, plan.strategy, plan.tick, str(self.workshop.path))

    def boot(self, machine: Machine) -> None:
        """Starts the relay of a machine."""
        self.note(f"{machine.name} boots")
        machine.boot(self.config(), partial(self._surroundings, machine))

    def _surroundings(self, machine: Machine, process: Process) -> Surroundings:
        return Surroundings(
            egress=SimulatedSender(self.network, self.receivers, process.name, partial(self._attempt_begins, machine)),
            exec_http=httpx.AsyncClient(
                transport=ExecWire(self.network, self.exec.app, self._key_at_exec, self._poll_begins),
                timeout=2,
                trust_env=False,
                follow_redirects=False,
            ),
            metronome=Metronome(process, self._due, self._beats_rng),
            monotonic=self.loop.time,
        )

    def _attempt_begins(self, machine: Machine, url: str, event: str, timeout: int) -> None:
        until = self.wall() + timeout
        if not self.workshop.any_row(HAS_LEASE, event=event, url=url, owner=machine.owner, until=until):
            self.found.late.append(f"{Rule.LEASE_OUTLASTS_ATTEMPT}: {machine.name} sends {event} to {url}")

    def _poll_begins(self) -> None:
        # A relay counts a late poll again once: if it stands still there too, the poll is late after all.
        if self._faults["stall"] + self._faults["stall at commit"] < 2 and not self.workshop.any_row(
            WAS_SPENT, since=self.wall() - MARGIN
        ):
            self.found.late.append(f"{Rule.LATE_POLL_SPENDS_AGAIN}: a poll at {self.wall()}")

    def _due(self) -> object:
        """The version of the store if anything is due, else None; as if it were, once a clock was set, because relays
        may have another now."""
        is_due = self.found.clock_set or self.workshop.any_row(*_DUE, at=self.wall())
        return self.workshop.version() if is_due else None

    def _key_at_exec(self, authorization: str) -> str:
        valid = authorization == f"Bearer {self._valid_key}"
        return f"Bearer {EXEC_KEYS[0]}" if valid else "Bearer unknown"

    async def _keep_running(self, machine: Machine) -> None:
        """What restarts a relay whose process ended."""
        while True:
            assert machine.process is not None
            await machine.process.ended
            self.note(f"{machine.process.name} ended")
            if machine.number in self._stopped:
                self._stopped.discard(machine.number)
            else:
                self.disturbed(0)
            await asyncio.sleep(self._chance.choice((0.1, 0.1, 1.0, 20.0)))
            await self._allowed[machine.number].wait()
            self.boot(machine)

    def disturbed(self, lasts: float, before: float = 0) -> None:
        """Relays are hurt for so many seconds from now."""
        self.found.disturbances.append(
            Disturbance(self.wall() - round(before * 1_000), self.wall() + round((lasts + 1) * 1_000))
        )

    # --- clients ---------------------------------------------------------------------------------------------------

    async def call(
        self, method: str, path: str, body: Any = None, machine: Machine | None = None, **headers: str
    ) -> tuple[int, Any]:
        """One request to the API of some machine; status 0 if there is no answer."""
        machine = machine or self._chance.choice(self.machines)
        content = b"" if body is None else json.dumps(body).encode()
        sent = {"authorization": f"Bearer {API_KEY}", "content-type": "application/json", **headers}

        async def serve() -> tuple[int, bytes]:
            if not machine.serves:
                return 0, b""
            return await machine.request(method, path, sent, content)

        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                status, answer = await self.network.exchange(serve)
        except (TimeoutError, Lost):
            return 0, None
        return status, json.loads(answer) if answer else None

    async def insist(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """As `call`, again and again until there is an answer that is no 5xx."""
        pause = _FIRST_PAUSE
        while True:
            status, answer = await self.call(method, path, body, None, **headers)
            if status and status < 500 and status not in (409, 429):
                return status, answer
            await self._allowed[0].wait()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _client(self) -> None:
        """Registers jobs, each at some moment."""
        at = sorted(self._jobs_rng.uniform(0, self.plan.active) for _ in range(self.plan.jobs))
        kinds = [self._jobs_rng.random() for _ in at]
        async with asyncio.TaskGroup() as group:
            for number, (moment, kind) in enumerate(zip(at, kinds, strict=True)):
                group.create_task(self._register(number, moment, kind))

    async def _register(self, number: int, moment: float, kind: float) -> None:
        await asyncio.sleep(moment)
        law = JobProfile(median=5 * SECOND, sigma=0.9, queued=SECOND, fail=0.2, cancel=0.1)
        job = self.exec.add(profile=law)
        self._call_back(job, kind)
        was_restored = self.found.restored
        path = f"/own/{job.id}" if kind < 0.4 else "/shared/0" if kind < 0.8 else None
        wish: dict[str, Any] = {"job_id": job.id, "metadata": {"number": number}}
        if path is not None:
            wish |= {"callback_url": RECEIVERS + path, "secret": SECRET}
        if kind * 10 % 1 < 0.2:
            status, answer = await self.insist(
                "POST", "/v1/registrations/batch", {"registrations": [wish]}, **{"idempotency-key": f"load-{number}"}
            )
            answer = answer["data"][0]["registration"] if status == 200 else answer
        else:
            status, answer = await self.insist(
                "POST", "/v1/registrations", wish, **{"idempotency-key": f"load-{number}"}
            )
        self.note(f"registered {job.id}: {status}")
        if status not in (200, 201):
            self.found.refused.append(f"{status}: {answer}")
            return
        if self.found.restored != was_restored and not self.workshop.any_row(_REGISTERED, id=answer["id"]):
            return  # the answer was under way while the store was replaced by one that does not know it
        self.found.accepted_at[answer["id"]] = self.wall()
        self.found.accepted.append(Accepted(id=answer["id"], job_id=job.id, path=path))

    # --- Exec's callbacks ------------------------------------------------------------------------------------------

    def _call_back(self, job: Job, kind: float) -> None:
        if kind * 100 % 1 >= self.plan.callbacks or job.ended_at is None:
            return
        for _ in range(self._jobs_rng.choice((1, 1, 2))):
            off = self._jobs_rng.choice((-2_000, 0, 0, 500))
            self.loop.world.spawn(self._post_callback(job, max(0, job.ended_at + off - self.wall()) / 1_000))

    async def _post_callback(self, job: Job, wait: float) -> None:
        await asyncio.sleep(wait)
        if self._token is not None:
            status, _ = await self.call("POST", self._token, {"id": job.id, "status": "completed"})
            self.note(f"callback for {job.id}: {status}")

    # --- the run ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Lives through the plan, then lets everything calm down."""
        for machine in self.machines:
            self.boot(machine)
        await self._until(lambda: all(machine.serves for machine in self.machines), _BOOTS_WITHIN)
        self.loop.world.spawn(self._set_up())
        keepers = [self.loop.world.spawn(self._keep_running(machine)) for machine in self.machines]
        client = self.loop.world.spawn(self._client())
        self.network.requests_lost = self.network.answers_lost = self.plan.loss
        acts = [self.loop.world.spawn(self._act(act)) for act in self.plan.acts]
        await asyncio.gather(*acts)
        self.network.requests_lost = self.network.answers_lost = 0
        await client
        await self._calm()
        self.found.shown = await self._listed()
        for keeper in keepers:
            keeper.cancel()

    async def _set_up(self) -> None:
        created = Rotation(SECRET)
        self.found.rotations.append(created)
        status, answer = await self.insist(
            "POST", "/v1/endpoints", {"url": RECEIVERS + ROTATING, "name": "rotating", "secret": SECRET}
        )
        if status in (200, 201):
            self._rotating, created.answered_at = answer["id"], self.wall()
        status, answer = await self.insist("GET", "/v1/workspaces/default/callback")
        self._token = answer["path"]

    async def _until(self, is_so: Callable[[], bool], within: float, every: float = 0.25) -> bool:
        until = self.loop.time() + within
        while not is_so():
            if self.loop.time() > until:
                return False
            await asyncio.sleep(every)
        return True

    async def _calm(self) -> None:
        """Enables what is disabled, and waits until nothing is watched or pending."""
        until = self.loop.time() + _CALM_WITHIN
        while self.loop.time() < until:
            await self._enable_all()
            # The file says it at a hundredth of what two calls of the API cost.
            await self._until(lambda: not self._is_unfinished(), _CALM_ROUND, every=_CALM_LOOK)
            _, jobs = await self.insist("GET", "/v1/jobs?state=active&limit=50")
            _, pending = await self.insist("GET", "/v1/deliveries?status=pending&limit=50")
            if not jobs["data"] and not pending["data"]:
                return
        self.found.stuck = [f"job {job['job_id']}" for job in jobs["data"]]
        self.found.stuck += [f"delivery {one['id']}" for one in pending["data"]]

    async def _enable_all(self) -> None:
        if not self.workshop.any_row(_DISABLED):
            return
        _, listed = await self.insist("GET", "/v1/endpoints?limit=200")
        for endpoint in listed["data"]:
            if not endpoint["enabled"]:
                await self.insist("POST", f"/v1/endpoints/{endpoint['id']}/enable")

    def _is_unfinished(self) -> bool:
        return self.workshop.any_row(*_UNFINISHED)

    async def _listed(self) -> set[str]:
        shown, cursor = set[str](), ""
        while True:
            _, page = await self.insist("GET", f"/v1/registrations?limit=200{cursor}")
            shown |= {one["id"] for one in page["data"]}
            if page["next_cursor"] is None:
                return shown
            cursor = f"&cursor={page['next_cursor']}"

    # --- acts ------------------------------------------------------------------------------------------------------

    async def _act(self, act: Act) -> None:
        await asyncio.sleep(act.at)
        self.note(act.text())
        await _ACTS[act.kind](self, act, self.machines[act.relay])
        self.note(f"over: {act.kind}, relay {act.relay}")

    async def _kill(self, act: Act, machine: Machine) -> None:
        process = machine.process
        if process is None or not process.is_alive:
            return
        if act.values["where"] == "step":
            process.steps_left = act.values["after"] + 1
        else:
            machine.trouble.kill = act.values["where"]
        await asyncio.wait([process.ended], timeout=30)
        if process.is_alive:
            machine.kill()
        if act.values["where"] == "step":
            self._faults["kill at a step"] += 1
        self.disturbed(0)

    async def _restart(self, act: Act, machine: Machine) -> None:
        relay, process = machine.relay, machine.process
        if relay is None or process is None or not process.is_alive:
            return
        self._allowed[machine.number].take()
        machine.app = None
        stopping = process.spawn(relay.stop())
        if await self._until(stopping.done, 10) and stopping.exception() is None and process.is_alive:
            self._stopped.add(machine.number)
        machine.kill()
        await asyncio.sleep(act.lasts)
        self._allowed[machine.number].give_back()

    async def _stall(self, act: Act, machine: Machine) -> None:
        process = machine.process
        if process is None:
            return
        self.disturbed(act.lasts)
        self._faults["stall"] += 1
        process.stop()
        await asyncio.sleep(act.lasts)
        process.resume()

    async def _stall_at_commit(self, act: Act, machine: Machine) -> None:
        process = machine.process
        if process is None or not process.is_alive:
            return
        stopped = self.loop.create_future()
        machine.trouble.stall_at_commit(act.values["after"], stopped)
        await asyncio.wait([stopped, process.ended], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            self._faults["stall at commit"] += 1
            self.disturbed(act.lasts)
            await asyncio.sleep(act.lasts)
            process.resume()
        machine.trouble.forget_stall(stopped)

    async def _store(self, act: Act, machine: Machine, name: str) -> None:
        self.disturbed(act.lasts + 4)
        setattr(machine.trouble, name, act.values["share"])
        await asyncio.sleep(act.lasts)
        setattr(machine.trouble, name, 0.0)

    async def _network(self, act: Act, _: Machine, name: str) -> None:
        setattr(self.network, name, max(getattr(self.network, name), act.values["share"]))
        await asyncio.sleep(act.lasts)
        setattr(self.network, name, 0.0)

    async def _receiver_trouble(self, act: Act, _: Machine) -> None:
        path = _PATHS[act.values["path"]]
        self.receivers.trouble[path] = act.values["status"], act.values["wait"]
        await asyncio.sleep(act.lasts)
        self.receivers.trouble.pop(path, None)

    async def _exec_trouble(self, act: Act, _: Machine) -> None:
        rule = FaultRule(
            kind=act.values["fault"],
            share=act.values["share"],
            lasts=max(1, round(act.lasts * 1_000)),
            wait=act.values["wait"] if act.values["fault"].isdigit() else None,
        )
        self.exec.faults.order(FaultConfig(faults=(rule,)), self.wall())
        await asyncio.sleep(act.lasts)

    async def _clock_set(self, act: Act, machine: Machine) -> None:
        self.found.clock_set = True
        self.disturbed(60, before=60)
        self._faults["clock set"] += 1
        machine.wrong += act.values["by"]
        await asyncio.sleep(self._chance.choice((3, 30)))
        machine.wrong = 0
        self.disturbed(60)

    async def _rotate(self, act: Act, machine: Machine) -> None:
        if self._rotating is None:
            return
        async with self._rotation:  # which of two that are under way comes last, nobody knows
            number = len(self.found.rotations)
            rotation = Rotation("whsec_" + f"{number:04d}" * 8, ahead=max(0, machine.wrong))
            self.found.rotations.append(rotation)
            status, _answer = await self.insist(
                "POST", f"/v1/endpoints/{self._rotating}/rotate-secret", {"secret": rotation.secret}
            )
            if status == 200:
                rotation.answered_at, rotation.ahead = self.wall(), max(rotation.ahead, machine.wrong)

    async def _disable(self, act: Act, _: Machine) -> None:
        if self._rotating is None:
            return
        await self.insist("POST", f"/v1/endpoints/{self._rotating}/disable")
        await asyncio.sleep(act.lasts)
        await self.insist("POST", f"/v1/endpoints/{self._rotating}/enable")

    async def _reload(self, act: Act, machine: Machine) -> None:
        if machine.serves and machine.relay is not None and machine.process is not None:
            machine.process.spawn(machine.relay.reload(self.config))

    async def _change_key(self, act: Act, _: Machine) -> None:
        """The workspace's key is replaced at Exec; the operator tells the relays a little later."""
        self._valid_key = EXEC_KEYS[1]
        self._faults["key of Exec refused"] += 1
        await asyncio.sleep(act.lasts)
        self._exec_key = EXEC_KEYS[1]
        for machine in self.machines:
            # One that starts now has read the old key, and heeds the signal once it has started.
            await self._until(lambda of=machine: of.serves, _BOOTS_WITHIN)  # type: ignore[misc]
            await self._reload(act, machine)

    async def _withdraw(self, act: Act, _: Machine) -> None:
        candidates = [one for one in self.found.accepted if one.id not in self.found.withdrawn]
        if not candidates:
            return
        chosen = self._chance.choice(candidates)
        self.found.withdrawn.add(chosen.id)
        status, _answer = await self.insist("DELETE", f"/v1/registrations/{chosen.id}")
        self.note(f"withdrawn {chosen.id}: {status}")

    async def _resend(self, act: Act, _: Machine) -> None:
        await self.insist("POST", "/v1/deliveries/resend", {"status": "failed"})

    async def _outage(self, act: Act, _: Machine) -> None:
        """All relays are away for more than a day."""
        self._faults["outage"] += 1
        for machine, allowed in zip(self.machines, self._allowed, strict=True):
            allowed.take()
            machine.kill()
        self.disturbed(0)
        await asyncio.sleep(DAY / 1_000 + 3_600)
        for allowed in self._allowed:
            allowed.give_back()

    async def _restore(self, act: Act, machine: Machine) -> None:
        """A backup is put in the place of the store some time later."""
        copy_of = self.workshop.folder / "copy.db"
        copy_of.unlink(missing_ok=True)
        if not self.workshop.path.exists():
            return
        backup.back_up(f"sqlite:///{self.workshop.path}", copy_of)
        with closing(sqlite3.connect(copy_of)) as copy:
            copy.execute("DROP TRIGGER budget_spent")  # the restore, which spends too, does not know `simulated_now`
        known = {one.id for one in self.found.accepted}
        await asyncio.sleep(act.lasts)
        self._allowed[machine.number].take()
        machine.kill()
        self.workshop.close()
        self.found.restored = True
        self._faults["restore"] += 1
        aside = self.workshop.folder / "aside.db"
        aside.unlink(missing_ok=True)
        limits = {"default": self.plan.per_minute}
        backup.restore(
            f"sqlite:///{self.workshop.path}",
            copy_of,
            aside,
            partial(carry_over, minute_limits=limits, now=self.wall()),
        )
        self.found.accepted = [one for one in self.found.accepted if one.id in known]
        await asyncio.sleep(1)
        self._allowed[machine.number].give_back()
        await self.insist("POST", "/v1/sending/resume")  # a restore suspends sending until a person decides


_ACTS: dict[str, Callable[[World, Act, Machine], Awaitable[None]]] = {
    "kill": World._kill,
    "restart": World._restart,
    "stall": World._stall,
    "stall at commit": World._stall_at_commit,
    "slow store": partial(World._store, name="slow"),
    "failing store": partial(World._store, name="failing"),
    "commit unknown": partial(World._store, name="unknown"),
    "requests lost": partial(World._network, name="requests_lost"),
    "answers lost": partial(World._network, name="answers_lost"),
    "exec answers lost": partial(World._network, name="exec_answers_lost"),
    "slow network": partial(World._network, name="slow"),
    "receiver trouble": World._receiver_trouble,
    "exec trouble": World._exec_trouble,
    "clock set": World._clock_set,
    "rotation": World._rotate,
    "disabling": World._disable,
    "reload": World._reload,
    "exec key changed": World._change_key,
    "withdrawal": World._withdraw,
    "resend": World._resend,
    "outage": World._outage,
    "restore": World._restore,
}
