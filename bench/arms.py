"""The arms: what is compared. A source tree, what is installed, what is switched on.

To add one, add an entry to `ARMS`. Its name is its identity in data/results.tsv: an arm that
comes to mean something else gets a new name. A package that it installs also belongs into the
dependency group `arms` of pyproject.toml, which pins what all arms run with. Peers do not: a
hundred packages of others would decide which versions ours may have, so they name their own.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from bench.errors import BenchError
from bench.results import AGAIN, FLOOR, PATCHED, STOCK

# The tree of an arm: upstream at the pin, the whole series, or the name of a topic, which
# stands for the series up to and including it.
UPSTREAM = "upstream"
SERIES = "series"

CODEC = frozenset({"pack", "artifacts", "sweep", "store", "checkpoint"})
STORE = frozenset({"pack", "artifacts", "sweep"})
ARTIFACTS = frozenset({"artifacts"})
START = frozenset({"import", "task", "flow"})
PARALLEL = frozenset({"parallel_map"})
HASH = frozenset({"hash"})
PEER = frozenset({"peers"})
# What has a limit that can be built by hand: each says so where it is measured.
FLOORS = STORE | START | PARALLEL
# What is measured for single topics (bench/workloads.py).
JOIN = frozenset({"join"})
GIT = frozenset({"git"})
DISTANT = frozenset({"distant"})
SWIFT = frozenset({"swift"})
FILECACHE = frozenset({"filecache"})
# What a run costs beside its steps: stock without it, and arms of stock with it.
PYLINT = frozenset({"pylint"})
LINES = frozenset({"lines"})
HEARTBEATS = frozenset({"heartbeats"})
COSTS = PYLINT | LINES | HEARTBEATS
TOPICS = JOIN | GIT | DISTANT | SWIFT | FILECACHE
EVERYTHING = CODEC | START | PARALLEL | HASH | PEER | TOPICS | COSTS


@dataclass(frozen=True)
class Arm:
    """One thing being measured."""

    name: str
    tree: str
    # Families of cases (bench/workloads.py) in which it could differ, and is measured.
    families: frozenset[str]
    installed: tuple[str, ...] = ()
    # Environment variables of its processes.
    settings: dict[str, str] = field(default_factory=dict)
    # Measured only if it is asked for, or a workload is.
    optional: bool = False
    # The tree of the process that saves what this arm loads, if it is another: it saves nothing.
    writer: str = ""

    @property
    def trees(self) -> tuple[str, ...]:
        return (self.tree, self.writer) if self.writer else (self.tree,)


_NO_SETTINGS: Mapping[str, str] = {}


def _hash(name: str, *installed: str, threads: str = "") -> Arm:
    settings = {"HASH": name} | ({"THREADS": threads} if threads else {})
    shown = f"{name}, {threads} threads" if threads else name
    return Arm(shown, UPSTREAM, HASH, installed, settings)


def _peer(name: str, *installed: str) -> Arm:
    return Arm(name, UPSTREAM, PEER, installed, {"WITH": name})


def _topic(
    name: str, families: frozenset[str], *installed: str, settings: Mapping[str, str] = _NO_SETTINGS
) -> Arm:
    """The series up to and including a topic, where that topic makes a difference."""
    return Arm(name, name, families, installed, dict(settings), optional=True)


def _cost(name: str, families: frozenset[str], *installed: str) -> Arm:
    return Arm(name, UPSTREAM, families, installed, {"COST": name}, optional=True)


# Stock hashes with SHA-1, so other functions are compared with that.
_STOCK = {"HASH": "SHA-1"}
# As on an x86 processor that lacks them: OPENSSL_ia32cap(3), bit 29 of what CPUID 7 has in EBX.
_NO_SHA = {"OPENSSL_ia32cap": ":~0x20000000"}
_LZ4 = {"METAFLOW_CAS_CODEC": "lz4"}
_BLAKE3 = {"METAFLOW_CAS_HASH": "blake3"}
ARMS = (
    Arm(STOCK, UPSTREAM, EVERYTHING, settings=_STOCK),
    Arm(AGAIN, UPSTREAM, EVERYTHING, settings=_STOCK),
    # Of the series only where it starts something: see bench/workers/needed.py.
    Arm(FLOOR, SERIES, FLOORS, settings={"WITH": "python"}),
    Arm(PATCHED, SERIES, CODEC | START | PARALLEL | PEER | TOPICS),
    Arm("patched+isal", SERIES, ARTIFACTS | {"pack"} | PEER, ("isal",)),
    Arm("patched+lz4", SERIES, CODEC | PEER, ("lz4",), _LZ4),
    Arm("patched+blake3", SERIES, STORE, ("blake3",), _BLAKE3),
    Arm("SHA-1, no instructions", UPSTREAM, HASH, settings=_STOCK | _NO_SHA),
    _hash("SHA-256"),
    _hash("BLAKE2b"),
    _hash("BLAKE3", "blake3"),
    _hash("BLAKE3", "blake3", threads="2"),
    _hash("BLAKE3", "blake3", threads="all"),
    _hash("XXH3-64", "xxhash"),
    _hash("XXH3-128", "xxhash"),
    _peer("pickle"),
    _peer("joblib", "joblib==1.6.0"),
    _peer("joblib+lz4", "joblib==1.6.0", "lz4"),
    _peer("Dagster", "dagster==1.13.29"),
    _peer("Kedro", "kedro==1.7.0", "kedro-datasets==9.6.0"),
    _peer("Prefect", "prefect==3.8.8"),
    _peer("diskcache", "diskcache==5.6.3"),
    _topic("cas-lz4", CODEC, "lz4", settings=_LZ4),
    _topic("cas-stored", CODEC),
    _topic("cas-isal", CODEC, "isal"),
    _topic("lazy-imports", START),
    _topic("lazy-plugins", START),
    _topic("filecache-index", FILECACHE),
    _topic("parallel-map", PARALLEL),
    _topic("linear-join", JOIN),
    _topic("git-info", GIT),
    _topic("s3-batching", DISTANT),
    _topic("scheduler-cache", DISTANT),
    _topic("cas-verify", CODEC),
    _topic("cas-errors", CODEC),
    _topic("lazy-package", START),
    _topic("save-memory", CODEC),
    _topic("cas-hash", CODEC, "blake3", settings=_BLAKE3),
    _topic("local-files", CODEC),
    _topic("staged-files", CODEC),
    _topic("lz4-stored", CODEC, "lz4", settings=_LZ4),
    Arm("stock reads patched", UPSTREAM, ARTIFACTS, optional=True, writer=SERIES),
    # No patch: what one could gain (bench/workers/protocol5.py).
    Arm("patched+protocol5", SERIES, ARTIFACTS, settings={"PICKLE": "protocol 5"}, optional=True),
    _cost("pylint", PYLINT, "pylint"),
    _cost("pylint, not installed", PYLINT),
    _cost("10,000 lines", LINES),
    _cost("heartbeats", HEARTBEATS),
)
# Arms of a single question: their tables are in status.md and in pull requests.
SINGLE = frozenset(arm.name for arm in ARMS if arm.optional)
# Without these there is no ratio, and no noise floor beside it.
CONTROLS = (STOCK, AGAIN)


def select_arms(
    names: Collection[str], topics: Iterable[str], asked: Collection[str] = ()
) -> tuple[Arm, ...]:
    """The arms by these names, and the controls.

    By default all that the series makes possible, optional ones only for families in `asked`.
    Raises BenchError for a name that is no arm, or one whose topic the series does not have.
    """
    possible = {UPSTREAM, SERIES, *topics}
    known = {arm.name: arm for arm in ARMS}
    for name in names:
        if name not in known:
            raise BenchError(f"there is no arm {name!r}: choose from {', '.join(known)}")
        if known[name].tree not in possible:
            raise BenchError(
                f"arm {name} needs topic {known[name].tree}, which patches/series.toml lacks: "
                "name another"
            )
    default = {arm.name for arm in ARMS if not arm.optional or arm.families & {*asked}}
    wanted = {*names, *CONTROLS} if names else default
    return tuple(arm for arm in ARMS if arm.name in wanted and arm.tree in possible)
