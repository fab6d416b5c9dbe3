"""Which package of the relay may import which, and what the pure modules may do: the rules of `test_layers.py`.

A package is a module or folder directly under `relay/`. Imports inside functions and under TYPE_CHECKING count too.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sys import stdlib_module_names

ROOT = Path(__file__).resolve().parent.parent

LAYER_OF = {
    "__main__": 13,
    "cli": 12,  # one file a command
    "web": 11,  # the HTTP API and the dashboard
    "sandbox": 11,  # Exec and a receiver, to try the relay with
    "mcp": 10,  # tools for agents
    "service": 10,  # one running relay
    "registration": 9,  # registering jobs, creating them, Exec's callbacks
    "polling": 8,  # polling Exec, and when to
    "delivery": 7,  # sending notifications
    "endpoints": 7,  # adding and changing endpoints
    "config": 6,  # the configuration file
    "waiting": 5,  # requests that wait, and the event feed
    "operations": 5,  # scheduler, retention, readiness, clock
    "formats": 5,  # the body for each kind of receiver
    "store": 4,  # the database
    "egress": 4,  # HTTP to receivers, and where it may go
    "client": 5,  # for programs that call a relay
    "verify": 4,  # for receivers: checks a notification
    "telemetry": 3,  # log, metrics, traces
    "security": 3,  # encryption, API keys, throttles
    "signing": 3,  # Standard Webhooks signatures
    "process": 2,  # what a process asks of the operating system
    "backoff": 3,  # delays of retries
    "model": 2,  # the values that all share
    "errors": 1,
    "suggestions": 1,
    "times": 1,
}
"""The layer of every package. A package may import packages of lower layers only. Add a new one here on purpose."""

PURE = frozenset(
    """backoff config delivery.holding delivery.redaction delivery.retry_policy egress.descriptors egress.header_policy
    egress.ip_policy egress.result egress.url_policy endpoints.spec errors formats model operations.readiness
    polling.request_budget polling.schedule polling.transitions security signing suggestions
    telemetry.trace_context times verify""".split()
)
"""Modules and packages below `relay` that are pure: they decide, and leave every effect to their callers."""

IMPURE = frozenset(
    """asyncio concurrent fcntl http io logging multiprocessing os pathlib queue secrets select selectors shutil signal
    socket socketserver sqlite3 ssl subprocess sys tempfile threading time urllib.request uuid""".split()
)
"""Standard modules that read a clock, the environment, files or the network, or draw randomness."""

PURE_LIBRARIES = frozenset(["cryptography", "idna", "jinja2", "pydantic", "ulid", "yaml"])
"""The only libraries that pure modules may use: none of them does input or output by itself."""

NOW = frozenset(["now", "utcnow", "today"])
READS_FILES = frozenset(["read_text", "read_bytes", "write_text", "write_bytes"])


@dataclass(frozen=True)
class Exempt:
    """What one pure package may do nevertheless."""

    modules: frozenset[str] = field(default_factory=frozenset)
    calls: frozenset[str] = field(default_factory=frozenset)


NONE = Exempt()
EXEMPT = {
    # The configuration is a file, and has paths; its text is read in one module.
    "config": Exempt(modules=frozenset(["pathlib"])),
    "config.reader": Exempt(modules=frozenset(["pathlib"]), calls=READS_FILES),
    # Receivers call it; without `now` it reads the clock, once.
    "verify": Exempt(modules=frozenset(["time"]), calls=frozenset(["time.time_ns"])),
}


def package_of(module: str) -> str:
    """`relay.store.tables.outbox` → `store`; the package `relay` itself → `` (the empty name)."""
    return [*module.split("."), ""][1]


def is_pure(module: str) -> bool:
    """Whether the module is in `PURE`, by itself or with its package."""
    return any(name in PURE for name in _names_of(module))


def _names_of(module: str) -> list[str]:
    """The module's name below `relay` and those of its packages, longest first."""
    parts = module.split(".")[1:]
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def wrong_imports(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Imports of `module` (dotted; `is_package`: an `__init__`) that the layers forbid, each with line and reason."""
    package = package_of(module)
    if package and package not in LAYER_OF:
        return [f"{module}: relay/{package} has no layer; add it to LAYER_OF of tests/layers.py"]
    wrong = []
    for line, target in imported(module, source, is_package=is_package):
        if reason := _refused(package, package_of(target)):
            wrong.append(f"{module}:{line} imports {target}: {reason}")
    return wrong


def needs(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of these modules each imports, by dotted names; imports inside functions count."""
    needed: dict[str, set[str]] = {module: set() for module in sources}
    for module, source in sources.items():
        for node in statements(ast.parse(source)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                within = {f"{node.module}.{alias.name}" for alias in node.names}
                names = [*(within & set(sources)), *([] if within <= set(sources) else [node.module])]
            else:
                continue
            needed[module] |= set(names) & (set(sources) - {module})
    return needed


def _refused(package: str, target: str) -> str | None:
    if target in ("", package):
        return None
    if target not in LAYER_OF:
        return f"relay/{target} has no layer"
    own, other = LAYER_OF.get(package, LAYER_OF["verify"] + 1), LAYER_OF[target]
    if package == "" and target != "verify":
        return "relay/__init__ shows receivers `verify` and no more"
    if other > own:
        return f"upward, from layer {own} to layer {other}"
    if other == own:
        return f"sideways, both in layer {own}"
    return None


def imported(module: str, source: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import from the relay itself, relative imports resolved."""
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = _imported_from(node, module, is_package)
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "relay")


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements, at any depth: a tenth of the nodes, which is enough to find imports."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for node in getattr(tree, part, ()):
            yield node
            yield from statements(node)


def _imported_from(node: ast.ImportFrom, module: str, is_package: bool) -> list[str]:
    base = node.module or ""
    if node.level:
        above = module.split(".")
        above = above[: len(above) + is_package - node.level]
        base = ".".join([*above, *base.split(".")]).rstrip(".")
    if base != "relay":
        return [base]
    return ["relay" if alias.name.startswith("__") else f"relay.{alias.name}" for alias in node.names]


def impurities(module: str, source: str) -> list[str]:
    """What the module does that a pure one may not: `await`, clock, environment, files, randomness of its own."""
    exempt = next((EXEMPT[name] for name in _names_of(module) if name in EXEMPT), NONE)
    tree = ast.parse(source)
    effects = [f"{module}:{line} {effect}" for line, effect in sorted(_impure(tree, exempt))]
    return effects + [f"{module}:{line} uses {name}, which is not pure" for line, name in _foreign(tree, exempt)]


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


def _impure_call(called: str, has_arguments: bool, exempt: Exempt) -> str | None:
    owner, _, name = called.rpartition(".")
    if called in exempt.calls or name in exempt.calls:
        return None
    if owner == "time" or (owner.rpartition(".")[2] in ("datetime", "date") and name in NOW):
        return "reads the clock"
    if (owner == "random" and name != "Random") or (name == "Random" and not has_arguments):
        return "draws randomness of its own"
    if called in ("open", "input", "print") or name in READS_FILES:
        return "reads or writes"
    return None


def _foreign(tree: ast.AST, exempt: Exempt) -> Iterator[tuple[int, str]]:
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
