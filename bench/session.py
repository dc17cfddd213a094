"""One invocation of the benchmark: its name, what its rows share, and how it is resumed.

A session is resumed if the same selection is asked for with the same hashes before it was
finished. What of it is done is read from data/results.tsv, where the rows of a process are
added as soon as it ends; the file under build/ only says which session is not finished.
"""

import contextlib
import fcntl
import hashlib
import json
import platform
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from bench.arms import Arm
from bench.environments import Tree
from bench.errors import BenchError
from bench.machine import Machine
from bench.results import Row, load_rows
from bench.schedule import Done, Step, done_steps
from bench.workloads import Case, Finding

BENCH = Path(__file__).parent
# The code that decides figures. Not the arms: to add one must not outdate the others.
DECIDING = (
    *("workers/*.py", "flows/*.py", "workloads.py"),
    *("environments.py", "hyperfine.py", "metadata.py", "servers.py"),
)


def code_hash() -> str:
    """12 hex digits for the code that decides figures."""
    found = hashlib.sha256()
    for pattern in DECIDING:
        for file in sorted(BENCH.glob(pattern)):
            found.update(f"{file.relative_to(BENCH)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:12]


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Session:
    """What all rows of an invocation share."""

    name: str
    machine: Machine
    release: str
    bench: str

    def rows(
        self, step: Step, findings: Collection[Finding], series: str, libraries: str
    ) -> list[Row]:
        return [
            Row(
                time=now(),
                session=self.name,
                round=step.round,
                position=step.position,
                machine=self.machine.fingerprint,
                processor=self.machine.processor,
                cores=self.machine.cores,
                memory_gb=self.machine.memory_gb,
                system=self.machine.system,
                python=platform.python_version(),
                libraries=libraries,
                release=self.release,
                series=series,
                bench=self.bench,
                workload=one.workload,
                payload=one.payload,
                store=step.case.store,
                arm=step.arm.name,
                metric=one.metric,
                bytes=one.bytes,
                unit=one.unit,
                value=float(one.value),
            )
            for one in findings
        ]


@contextlib.contextmanager
def one_benchmark(folder: Path) -> Iterator[None]:
    """Keep others of this checkout out: two benchmarks at a time measure each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(
                "another benchmark runs in this checkout: wait until it ends"
            ) from None
        yield


def open_session(
    folder: Path,
    results: Path,
    machine: Machine,
    release: str,
    cases: Collection[Case],
    arms: Collection[Arm],
    trees: Mapping[str, Tree],
) -> tuple[Session, Done]:
    """The unfinished session of the same selection and hashes, and what it has done.

    Where there is none, a new one, which has done nothing.
    """
    bench = code_hash()
    parts = [machine.fingerprint, platform.python_version(), release, bench, str(results.resolve())]
    parts += [repr(case) for case in cases]
    for arm in arms:  # without its families: a set is written in another order every time
        parts += [arm.name, *(trees[name].series for name in arm.trees)]
        parts += [repr(arm.installed), repr(arm.settings)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    file = folder / "session.json"
    rows = load_rows(results) if results.exists() else []
    if file.is_file():
        unfinished = json.loads(file.read_text())
        if unfinished["key"] == key:
            name = unfinished["session"]
            return Session(name, machine, release, bench), done_steps(rows, name)
    name = f"{now()}-{secrets.token_hex(2)}"
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "session": name}))
    partial.replace(file)
    return Session(name, machine, release, bench), frozenset()


def close_session(folder: Path) -> None:
    (folder / "session.json").unlink(missing_ok=True)
