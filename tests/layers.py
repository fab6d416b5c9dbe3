"""Which part of the relay may import which, and what the pure core may do: the rules that `test_layers.py` applies.

A part is a module or package directly under `relay/`. Imports inside functions and under TYPE_CHECKING count too.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sys import stdlib_module_names

ROOT = Path(__file__).resolve().parent.parent

PURE, ADAPTERS, USE_CASES, SERVICE, FACES, COMMANDS, START = range(1, 8)

FLOORS = {
    PURE: """addresses api_keys arrivals asymmetric backoff buckets budget config config_text creation delivering
        descriptors durations errors estimate formats guesses hiding law polling model nearest outcome outlook pace
        planner pricing readiness reloading samples sealing signing subscribing timetable times traces verify""",
    ADAPTERS: "egress exec_api exec_transport listening scheduler store telemetry",
    USE_CASES: "bell callbacks creating dispatcher endpoints janitor key_ring register situation timekeeping watcher",
    SERVICE: "service",
    FACES: "sandbox web",
    COMMANDS: "cli",
    START: "__main__",
}
FLOOR_OF = {part: floor for floor, parts in FLOORS.items() for part in parts.split()}
"""Every part's floor. A new one is placed here on purpose: a part that is not named is refused."""

IMPURE = frozenset(
    """asyncio concurrent fcntl http io logging multiprocessing os pathlib queue secrets select selectors shutil signal
    socket socketserver sqlite3 ssl subprocess sys tempfile threading time urllib.request uuid""".split()
)
"""Standard modules that read a clock, the environment, files or the network, or draw randomness."""

PURE_LIBRARIES = frozenset(["cryptography", "idna", "jinja2", "pydantic", "ulid", "yaml"])
"""The only libraries that the pure core may use: none of them does input or output by itself."""

NOW = frozenset(["now", "utcnow", "today"])
READS_FILES = frozenset(["read_text", "read_bytes", "write_text", "write_bytes"])


@dataclass(frozen=True)
class Exempt:
    """What one pure module may do beside, and why is said where it is granted."""

    modules: frozenset[str] = field(default_factory=frozenset)
    calls: frozenset[str] = field(default_factory=frozenset)


NONE = Exempt()
EXEMPT = {
    # The configuration is a file; its text is read in one place.
    "config": Exempt(modules=frozenset(["pathlib"])),
    "config_text": Exempt(modules=frozenset(["pathlib"]), calls=READS_FILES),
    # Called by those who receive from the relay: without `now` it polls the clock, once.
    "verify": Exempt(modules=frozenset(["time"]), calls=frozenset(["time.time_ns"])),
}


def part_of(module: str) -> str:
    """`relay.store.tables.outbox` → `store`; the package itself → `` (the empty name)."""
    return [*module.split("."), ""][1]


def wrong_imports(module: str, source: str, *, package: bool = False) -> list[str]:
    """What `module` (dotted; `package`: an `__init__`) imports against the floors, each with line and reason."""
    part = part_of(module)
    if part and part not in FLOOR_OF:
        return [f"{module}: relay/{part} has no floor; place it in FLOORS of tests/layers.py"]
    wrong = []
    for line, target in imported(module, source, package=package):
        if reason := _refused(part, part_of(target)):
            wrong.append(f"{module}:{line} imports {target}: {reason}")
    return wrong


def needs(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of these modules each imports, by dotted names; imports inside functions count."""
    found: dict[str, set[str]] = {module: set() for module in sources}
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                within = {f"{node.module}.{alias.name}" for alias in node.names}
                names = [*(within & set(sources)), *([] if within <= set(sources) else [node.module])]
            else:
                continue
            found[module] |= set(names) & (set(sources) - {module})
    return found


def _refused(part: str, target: str) -> str | None:
    if target in ("", part):
        return None
    if target not in FLOOR_OF:
        return f"relay/{target} has no floor"
    own, other = FLOOR_OF.get(part, PURE), FLOOR_OF[target]  # the package itself shows what receivers need
    if other > own:
        return f"upward, from floor {own} to floor {other}"
    if other == own and own != PURE:
        return f"sideways, both on floor {own}"
    return None


def imported(module: str, source: str, *, package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything of the relay's that a module imports, relative imports resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = _imported_from(node, module, package)
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "relay")


def _imported_from(node: ast.ImportFrom, module: str, package: bool) -> list[str]:
    base = node.module or ""
    if node.level:
        above = module.split(".")
        above = above[: len(above) + package - node.level]
        base = ".".join([*above, *base.split(".")]).rstrip(".")
    if base != "relay":
        return [base]
    return ["relay" if alias.name.startswith("__") else f"relay.{alias.name}" for alias in node.names]


def impurities(module: str, source: str) -> list[str]:
    """What a module does that the pure core may not: `await`, clock, environment, files, randomness of its own."""
    exempt = EXEMPT.get(part_of(module), NONE)
    tree = ast.parse(source)
    found = [f"{module}:{line} {what}" for line, what in sorted(_impure(tree, exempt))]
    return found + [f"{module}:{line} uses {name}, which is not pure" for line, name in _foreign(tree, module, exempt)]


def _impure(tree: ast.AST, exempt: Exempt) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                yield node.lineno, "awaits"
            case ast.Global():
                yield node.lineno, "keeps state of its own"
            case ast.ImportFrom(module="random", names=names) if any(alias.name != "Random" for alias in names):
                yield node.lineno, "draws randomness of its own"
            case ast.Call(args=args):
                if reason := _impure_call(ast.unparse(node.func), bool(args), exempt):
                    yield node.lineno, reason
            case _:
                pass


def _impure_call(called: str, given: bool, exempt: Exempt) -> str | None:
    owner, _, name = called.rpartition(".")
    if called in exempt.calls or name in exempt.calls:
        return None
    if owner == "time" or (owner.rpartition(".")[2] in ("datetime", "date") and name in NOW):
        return "reads the clock"
    if (owner == "random" and name != "Random") or (name == "Random" and not given):
        return "draws randomness of its own"
    if called in ("open", "input", "print") or name in READS_FILES:
        return "reads or writes"
    return None


def _foreign(tree: ast.AST, module: str, exempt: Exempt) -> Iterator[tuple[int, str]]:
    """Imports of impure standard modules, and of libraries that are not on the list."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            top = name.split(".")[0]
            if top in exempt.modules or top == "relay":
                continue
            if IMPURE & {top, name} or (top not in stdlib_module_names and top not in PURE_LIBRARIES):
                yield node.lineno, name
