"""What is timed: the cases, and how one process of an arm measures one.

A case is what one process does: one or more workloads on payloads that share the process. A
family is a group of cases that are chosen together.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.arms import CONTROLS, Arm
from bench.environments import WORKERS, Environment, Packages, clean_environment, last_line
from bench.errors import BenchError
from bench.hyperfine import time_command
from bench.metadata import serve_metadata
from bench.results import COSTS, JOIN, NONE, PATCHED, PEER_WORKLOADS, STOCK
from bench.servers import count_requests
from bench.workers.payloads import PAYLOADS, REAL, STUDY, SWEEP, Payload

FLOWS = Path(__file__).with_name("flows")
# A verdict needs six rounds (bench/statistics.py).
ROUNDS = 6

TMPFS, DISK, S3, AZURE = "tmpfs", "disk", "s3", "azure"
# Behind a delay: moto, and OpenStack Swift.
DISTANT, SWIFT = "s3-20ms", "swift-20ms"
FAR_STORES = (DISTANT, SWIFT)
SERVED = (S3, AZURE, *FAR_STORES)
STORES = (TMPFS, DISK, *SERVED)
# What the servers are asked to hold. Of each save and load there, most is the start of Metaflow's
# helper processes, whatever the size: a second payload would double the time and say little more.
SERVED_PAYLOADS = (PAYLOADS["model weights"],)
# Payloads that are a flow of bench/flows under special circumstances.
WIDE, WIDTH = "foreach 400", "400"
TWELVE, FAR, CHECKOUT = "12 artifacts, to S3", "foreach, to S3", "foreach, in a checkout"
SCRIPTS = {WIDE: "foreach", TWELVE: "twelve", FAR: "foreach", CHECKOUT: "foreach"}
# As many as a large company's single repository.
CHECKOUT_FILES = 60_000
# Larger arrays than this are hashed no faster.
HASHED = 100_000_000
# The study started Python 35 times in each process of an arm, 5 of them to warm up. What is
# inside a process only sharpens its median (bench/statistics.py); rounds give the interval, and
# 25 starts fewer in each are what lets every other case have six of them.
WARM_UP, RUNS = 1, 9
TASKS = 5


@dataclass(frozen=True)
class Case:
    """What one process of an arm measures, and in how many rounds."""

    family: str
    workloads: tuple[str, ...]
    payloads: tuple[str, ...]
    store: str = NONE
    packages: Packages = field(default_factory=Packages)
    rounds: int = ROUNDS
    # Further ones, if there is time: short timings need more to tell small differences.
    extra: int = 0
    # Part of the short run.
    quick: bool = False
    # Measured only if something is asked for that only optional cases have.
    optional: bool = False
    # An environment in which nothing has written bytecode.
    bytecode: bool = True
    # Of those arms that measure the family, these alone; by default all of them.
    arms: tuple[str, ...] = ()

    @property
    def most_rounds(self) -> int:
        return self.rounds + self.extra

    def is_for(self, arm: Arm) -> bool:
        return self.family in arm.families and arm.name in (self.arms or (arm.name,))

    def __str__(self) -> str:
        what = self.payloads[0] + (" ..." if len(self.payloads) > 1 else "")
        where = "" if self.store == NONE else f", {self.store}"
        return f"{' and '.join(self.workloads)} {what}{where}"


@dataclass(frozen=True)
class Finding:
    """What a process found: the columns of a row that are its own."""

    workload: str
    payload: str
    metric: str
    bytes: int
    unit: str
    value: float


@dataclass(frozen=True)
class Place:
    """Where and with what a process runs."""

    environment: Environment
    # An empty folder of its own.
    scratch: Path
    # Where stores go: a folder, or what the servers of s3 and azure call it.
    store: str
    settings: Mapping[str, str]
    # Where what is loaded is saved, if elsewhere.
    writer: Environment | None = None


def _packages(payloads: Collection[Payload]) -> Packages:
    found = Packages()
    for payload in payloads:
        found += Packages(payload.requires, payload.data)
    return found


def _batches(payloads: Collection[Payload]) -> Iterator[list[Payload]]:
    """Payloads that share a process, in order."""
    batches: dict[str, list[Payload]] = {}
    for payload in payloads:
        batches.setdefault(payload.batch or payload.name, []).append(payload)
    yield from batches.values()


def _artifacts(
    family: str, payloads: Collection[Payload], store: str, **more: Any
) -> Iterator[Case]:
    for batch in _batches(payloads):
        extra = Packages()
        if store == AZURE:
            extra = Packages(("azure-identity", "azure-storage-blob"))
        yield Case(
            family,
            ("save", "load"),
            tuple(one.name for one in batch),
            store,
            _packages(batch) + extra,
            optional=any(one.optional for one in batch),
            quick=more.get("quick", False),
            extra=more.get("extra", 0),
        )


def all_cases() -> Iterator[Case]:
    """Everything that can be measured; cheap and telling cases first."""
    study = tuple(payload.name for payload in STUDY)
    numpy = Packages(("numpy",))
    yield from _artifacts("artifacts", STUDY, TMPFS, quick=True, extra=ROUNDS)
    tools = Packages(("pytest", "pytest-benchmark"))
    yield Case("pack", ("pack",), study, packages=numpy + tools, quick=True, extra=ROUNDS)
    yield Case("import", ("import",), ("with bytecode",))
    yield Case("flow", ("flow",), ("hello",), TMPFS)
    yield Case("task", ("task",), ("hello",), TMPFS, optional=True)
    yield Case("checkpoint", ("flow",), ("checkpoint",), TMPFS, numpy)
    yield from _artifacts("artifacts", REAL, TMPFS)
    yield from _artifacts("sweep", SWEEP, TMPFS)
    sizes = tuple(payload.name for payload in SWEEP if payload.size <= HASHED)
    yield Case("hash", ("hash",), study + sizes, packages=numpy)
    yield Case("parallel_map", ("parallel_map",), ("1 no-op", "64 no-ops", "8 tasks of 50 ms"))
    for store in (S3, AZURE):
        yield from _artifacts("store", SERVED_PAYLOADS, store)
    yield Case("import", ("import",), ("without bytecode",), bytecode=False)
    yield Case("flow", ("flow",), ("foreach",), TMPFS)
    yield Case("flow", ("flow",), (WIDE,), TMPFS, optional=True)
    yield from _artifacts("artifacts", (*STUDY, *REAL), DISK)
    yield Case("peers", PEER_WORKLOADS, study, TMPFS, numpy, optional=True)
    yield from _topics()


def _topics() -> Iterator[Case]:
    """What single topics are judged by, and what may become one."""
    splits = tuple(f"{number:,} splits" for number in (100, 1_000, 4_000))
    yield Case("join", (JOIN,), splits, optional=True)
    # A point of the curve and no verdict: stock takes more than a minute, and once is enough.
    once = (STOCK, PATCHED, "linear-join")
    yield Case("join", (JOIN,), ("10,000 splits",), rounds=1, optional=True, arms=once)
    yield Case("git", ("flow",), (CHECKOUT,), TMPFS, optional=True)
    yield Case("distant", ("flow",), (TWELVE,), DISTANT, optional=True)
    # Single topics are left to the flow above: a run of stock takes longer than a minute.
    series = (*CONTROLS, PATCHED)
    yield Case("distant", ("flow",), (FAR,), DISTANT, optional=True, arms=series)
    for flow in (TWELVE, FAR):
        yield Case("swift", ("flow",), (flow,), SWIFT, optional=True)
    yield Case("filecache", ("filecache",), ("8 processes", "10,000 files"), optional=True)
    yield Case("pylint", (COSTS,), ("hello",), TMPFS, optional=True)
    yield Case("lines", (COSTS,), ("lines",), TMPFS, optional=True)
    yield Case("heartbeats", (COSTS,), ("hello, with a service",), TMPFS, optional=True)


def select_cases(
    workloads: Collection[str],
    payloads: Collection[str],
    stores: Collection[str],
    *,
    quick: bool,
) -> tuple[Case, ...]:
    """The cases that these names leave; by default all but optional ones, and the disk.

    Optional ones are left by a name that no other case has. A workload is named as in a row
    ("save") or by its family ("sweep"). Raises BenchError for a name that nothing has, and for
    names that leave nothing.
    """
    cases = tuple(all_cases())
    known = {name for case in cases for name in (case.family, *case.workloads)}
    _check("workload", workloads, known)
    _check("payload", payloads, {name for case in cases for name in case.payloads})
    _check("store", stores, set(STORES))
    ordinary = {name for case in cases if not case.optional for name in _names(case)}
    asked = {*workloads, *payloads, *stores} - ordinary
    chosen = []
    for case in cases:
        named = any(name in payloads for name in case.payloads)
        if case.optional and asked.isdisjoint(_names(case)):
            continue
        if case.store == DISK and DISK not in stores:
            continue
        if quick and not (case.quick or named or case.store in stores):
            continue
        if stores and case.store not in stores:
            continue
        narrowed = _narrow(case, workloads, payloads)
        if narrowed is not None:
            chosen.append(narrowed)
    if not chosen:
        raise BenchError(
            "nothing is left to measure: name fewer of --workload, --payload, --store, --quick"
        )
    return tuple(chosen)


def _names(case: Case) -> tuple[str, ...]:
    """All that a case can be asked for by."""
    return case.family, case.store, *case.workloads, *case.payloads


def _check(what: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise BenchError(f"there is no {what} {name!r}: choose from {', '.join(sorted(known))}")


def _narrow(case: Case, workloads: Collection[str], payloads: Collection[str]) -> Case | None:
    kept = case.workloads
    if workloads and case.family not in workloads:
        kept = tuple(name for name in kept if name in workloads)
    own = tuple(name for name in case.payloads if not payloads or name in payloads)
    return replace(case, workloads=kept, payloads=own) if kept and own else None


def label_cases(cases: Collection[Case]) -> Iterator[Case]:
    """Cases that describe the payloads of `cases`, once in a session."""
    names = {name for case in cases for name in case.payloads}
    for batch in _batches([payload for name, payload in PAYLOADS.items() if name in names]):
        packages = _packages(batch) + Packages(("lz4", "numpy"))
        yield Case("payload", ("payload",), tuple(one.name for one in batch), packages=packages)


def measure(case: Case, arm: Arm, place: Place) -> list[Finding]:
    """Run the process that measures `case` for `arm`; raises BenchError if it fails."""
    settings = dict(place.settings) | arm.settings
    env = clean_environment(METAFLOW_HOME=str(place.scratch), TMPDIR=str(place.scratch), **settings)
    found: list[Finding] = _MEASURES[case.workloads[0]](case, place, env)
    return found


Environ = dict[str, str]


def _run_worker(worker: str) -> Callable[[Case, Place, Environ], list[Finding]]:
    def run(case: Case, place: Place, env: Environ) -> list[Finding]:
        assignment = {
            "workloads": case.workloads,
            "payloads": case.payloads,
            "root": place.store,
            "writer": str(place.writer.python) if place.writer else "",
        }
        command = [str(place.environment.python), str(WORKERS / worker), json.dumps(assignment)]
        answer = json.loads(_run(command, place, env).splitlines()[-1])
        _check_import(answer["metaflow"], place)
        return [Finding(**one) for one in answer["findings"]]

    return run


def _run_pack(case: Case, place: Place, env: Environ) -> list[Finding]:
    out = place.scratch / "benchmark.json"
    (place.scratch / "pytest.ini").write_text("[pytest]\n")  # not the one of this project
    command = [str(place.environment.python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-c", str(place.scratch / "pytest.ini"), f"--benchmark-json={out}"]
    command += ["--benchmark-warmup=off", "--benchmark-min-rounds=1", "--benchmark-max-time=0.1"]
    assignment = json.dumps({"payloads": case.payloads})
    _run([*command, str(WORKERS / "pack.py")], place, env | {"ASSIGNMENT": assignment})
    findings = []
    for one in json.loads(out.read_text())["benchmarks"]:
        info, median = one["extra_info"], one["stats"]["median"]
        _check_import(info["metaflow"], place)
        name, size = info["name"], info["size"]
        findings.append(Finding("pack", name, "time", size, "s", median))
        findings.append(Finding("pack", name, "stored", size, "B", info["stored"]))
    return findings


def _is_floor(env: Environ) -> bool:
    return env.get("WITH") == "python"


def _import_needed(place: Place, env: Environ) -> str:
    return _run([str(place.environment.python), str(WORKERS / "needed.py")], place, env).strip()


def _run_import(case: Case, place: Place, env: Environ) -> list[Finding]:
    """The floor: a bare Python with the modules of the standard library that Metaflow needs."""
    (name,) = case.payloads
    warm_up, runs = WARM_UP, RUNS
    if not case.bytecode:
        # Twice as slow, and nothing is left behind that could be warm but the disk.
        env, warm_up, runs = env | {"PYTHONDONTWRITEBYTECODE": "1"}, 1, 4
    line = _import_needed(place, env) if _is_floor(env) else "import metaflow"
    command = [str(place.environment.python), "-c", line]
    seconds = time_command(command, warm_up=warm_up, runs=runs, cwd=place.scratch, env=env)
    return [Finding("import", name, "time", 0, "s", seconds)]


def _run_flow(case: Case, place: Place, env: Environ) -> list[Finding]:
    """The floor: bench/workers/tasks.py."""
    (name,) = case.payloads
    store = place.scratch / "store"
    command = [str(place.environment.python)]
    if _is_floor(env):
        command += [str(WORKERS / "tasks.py"), name, _import_needed(place, env)]
    else:
        script = FLOWS / f"{SCRIPTS.get(name, name)}.py"
        if name == CHECKOUT:
            env |= OWN_GIT
            script = provide_checkout(place.scratch.parent / "checkout", script, env)
        command += [str(script), "--quiet", "--no-pylint", "run"]
        if name == WIDE:
            command += ["--max-num-splits", WIDTH]
            env |= {"WIDTH": WIDTH}
    env = env | {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(store)}
    if case.store in FAR_STORES:
        # A prefix of its own, as what is there already is not written again.
        root = f"{place.store}/{place.scratch.name}"
        env |= {"METAFLOW_DEFAULT_DATASTORE": "s3", "METAFLOW_DATASTORE_SYSROOT_S3": root}
        count_requests(env)
    # A run that found the artifacts of another one would save nothing.
    remove = ["rm", "-rf", str(store)]
    # A long run says as much in one as a short one in two; rounds do the rest.
    warm_up, runs = (1, 2) if name == "hello" else (0, 1)
    seconds = time_command(
        command, warm_up=warm_up, runs=runs, cwd=place.scratch, env=env, prepare=remove
    )
    findings = [Finding("flow", name, "time", 0, "s", seconds)]
    if case.store in FAR_STORES:
        findings.append(Finding("flow", name, "requests", 0, "1", count_requests(env)))
    return findings


def _run_task(case: Case, place: Place, env: Environ) -> list[Finding]:
    """The first task of a flow, as its run starts it (bench/workers/first_task.py): each time the
    same one, with the store as the run left it.

    The floor is one process of what is the floor of a flow.
    """
    (name,) = case.payloads
    python, store = str(place.environment.python), place.scratch / "store"
    if _is_floor(env):
        command, prepare = [python, "-c", _import_needed(place, env)], []
    else:
        env = env | {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(store)}
        run = [str(FLOWS / f"{name}.py"), "--quiet", "--no-pylint", "run"]
        said = _run([python, str(WORKERS / "first_task.py"), *run], place, env)
        first = json.loads(said.splitlines()[-1])
        command, env = first["command"], first["env"]
        left = store.rename(place.scratch / "left")
        prepare = ["sh", "-c", 'rm -rf "$1" && cp -r "$0" "$1"', str(left), str(store)]
    seconds = time_command(
        command, warm_up=1, runs=TASKS, cwd=place.scratch, env=env, prepare=prepare
    )
    return [Finding("task", name, "time", 0, "s", seconds)]


# The service's versions before and since which it is sent heartbeats.
SILENT, HEARD = "2.0.3", "2.0.4"


def _run_costs(case: Case, place: Place, env: Environ) -> list[Finding]:
    (name,) = case.payloads
    store, on = place.scratch / "store", "COST" in env
    env = env | {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(store), "PYLINTHOME": str(place.scratch)}
    script = FLOWS / ("lines.py" if case.family == "lines" else "hello.py")
    option = "--pylint" if on and case.family == "pylint" else "--no-pylint"
    with contextlib.ExitStack() as stack:
        if case.family == "lines":
            env["LINES"] = "10000" if on else "0"
        if case.family == "heartbeats":
            url = stack.enter_context(serve_metadata(HEARD if on else SILENT))
            env |= {"METAFLOW_DEFAULT_METADATA": "service", "METAFLOW_SERVICE_URL": url}
        seconds = time_command(
            [str(place.environment.python), str(script), option, "run"],
            warm_up=1,
            runs=3,
            cwd=place.scratch,
            env=env,
            prepare=["rm", "-rf", str(store)],
        )
    return [Finding(COSTS, name, "time", 0, "s", seconds)]


# The user's git may look at a work tree in another way.
OWN_GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def provide_checkout(folder: Path, script: Path, env: Environ) -> Path:
    """A copy of `script` in a large git repository at `folder`, made once in a session."""
    copy = folder / script.name
    if not folder.exists():
        source = folder / "source"
        source.mkdir(parents=True)
        for number in range(CHECKOUT_FILES):
            (source / f"{number}.txt").write_text("all alike\n")
        shutil.copy(script, copy)
        author = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        for command in (("init",), ("add", "."), (*author, "commit", "--message", "All")):
            git = ["git", *command]
            done = subprocess.run(git, cwd=folder, env=env, capture_output=True, text=True)
            if done.returncode:
                shutil.rmtree(folder)
                raise BenchError(f"no checkout for the flow: {last_line(done.stderr)}")
    return copy


def _run(command: list[str], place: Place, env: Environ) -> str:
    done = subprocess.run(command, cwd=place.scratch, env=env, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(last_line(done.stderr if done.stderr.strip() else done.stdout))
    return done.stdout


def _check_import(found: str | None, place: Place) -> None:
    if found is not None and not Path(found).is_relative_to(place.environment.path):
        raise BenchError(f"imported {found} instead of a Metaflow in {place.environment.path}")


_MEASURES: dict[str, Callable[[Case, Place, Environ], list[Finding]]] = {
    "save": _run_worker("artifacts.py"),
    "load": _run_worker("artifacts.py"),
    "peers save": _run_worker("peers.py"),
    "peers load": _run_worker("peers.py"),
    "payload": _run_worker("labels.py"),
    "hash": _run_worker("hashes.py"),
    "parallel_map": _run_worker("parallel.py"),
    JOIN: _run_worker("join.py"),
    COSTS: _run_costs,
    "filecache": _run_worker("filecache.py"),
    "pack": _run_pack,
    "import": _run_import,
    "flow": _run_flow,
    "task": _run_task,
}
