"""The matrix: each version writes a run, and each reads all of them, in three ways.

Traps that it avoids: a content that is in the store is not written again, so every writer has a
store of its own. A client caches contents by their key, so contents carry the writer's name, and
every reader starts with an empty cache. Metadata holds absolute paths, so stores stay in place.
"""

import itertools
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.environments import Environment, Environments, Tree, clean_environment
from bench.errors import BenchError
from compatibility.results import Cell, Outcome, Way, worst
from compatibility.versions import Version, install

HERE = Path(__file__).parent
FLOW = HERE / "workers" / "kinds.py"
CLIENT = HERE / "workers" / "client.py"
MAGIC = {b"\x1f\x8b": "gzip", b"\x04\x22\x4d\x18": "LZ4"}
WRONG = "another value than was written"
# What tells somebody who reads an error what to do, where it does not name the object.
REMEDIES = ("pip install", "update Metaflow")
ERROR = re.compile("error|exception", re.IGNORECASE)
# What the lines of a task begin with in what its run says.
TASK = re.compile(r"^[-\d]+ [:.\d]+ \[\S+ \(pid \d+\)\] ")
Say = Callable[[str], None]
# What reading each kind of content came to: "" is what was written.
Found = dict[str, str]


@dataclass(frozen=True)
class Party:
    """A version, installed."""

    version: Version
    environment: Environment
    folder: Path

    def start(
        self, run: "Run", *command: str | Path, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command where the run is stored, with a cache that is empty."""
        cache = self.folder / f"cache-{next(COUNT)}"
        settings = {
            "METAFLOW_HOME": str(self.folder),
            "METAFLOW_CLIENT_CACHE_PATH": str(cache),
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(run.root),
            "WRITER": run.writer,
        }
        done = subprocess.run(
            [self.environment.python, *command],
            cwd=run.root,
            env=clean_environment(**settings, **self.version.settings, **env),
            capture_output=True,
            text=True,
        )
        shutil.rmtree(cache, ignore_errors=True)
        return done


COUNT = itertools.count()
# Commands of Metaflow wait for each other half of the time.
WORKERS = 2 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class Run:
    """What one version wrote."""

    writer: str
    root: Path  # holds .metaflow/
    id: str = ""

    @property
    def store(self) -> Path:
        return self.root / ".metaflow" / "KindsFlow"

    def blobs(self) -> dict[str, Path]:
        """Where the content of each kind is stored."""
        (description,) = self.store.glob(f"{self.id}/start/1/0.data.json")
        keys = json.loads(description.read_text())["objects"]
        return {name: self.store / "data" / key[:2] / key for name, key in keys.items()}

    def formats(self) -> dict[str, str]:
        """How the content of each kind is stored."""
        return {name: read_format(blob) for name, blob in self.blobs().items()}


def read_format(blob: Path) -> str:
    with blob.open("rb") as file:
        head = file.read(4)
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "unknown")


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_matrix(
    versions: Sequence[Version],
    patched: Tree,
    environments: Environments,
    folder: Path,
    say: Say,
    between: Callable[[Run], None] | None = None,
) -> list[Cell]:
    """All cells; `folder` is made for it and removed. `between` sees each run before readers do.

    Raises BenchError if an environment cannot be made, or a version cannot run the flow and read
    what it wrote itself.
    """
    with _scratch(folder), ThreadPoolExecutor(WORKERS) as pool:
        parties = []
        for version in versions:
            say(f"environment of {version.name}")
            home = folder / version.name / "home"
            home.mkdir(parents=True)
            parties.append(Party(version, install(version, environments, patched), home))
        say(f"{len(parties)} versions write")
        runs = list(pool.map(lambda party: write_run(party, folder), parties))
        if between:
            for run in runs:
                between(run)
        say(f"{len(parties)} versions read {len(runs)} runs: client")
        every = dict(zip((party.version.name for party in parties), parties, strict=True))
        by_client = pool.map(lambda party: read_by_client(party, runs), parties)
        found = {
            (run.writer, reader, Way.CLIENT): one
            for reader, all_found in zip(every, by_client, strict=True)
            for run, one in zip(runs, all_found, strict=True)
        }
        # Further steps last: old releases cannot resume a run with steps of newer ones in it.
        for way, read in ((Way.RESUME, read_by_resume), (Way.MIXED, read_in_step)):
            pairs = [(run, party, number) for run in runs for number, party in enumerate(parties)]
            results = pool.map(lambda pair, read=read: read(*pair), pairs)
            for done, ((run, party, _), one) in enumerate(zip(pairs, results, strict=True)):
                if done % len(parties) == 0:
                    say(f"{way.value}: what {run.writer} wrote")
                found[run.writer, party.version.name, way] = one
        return [
            cell
            for run in runs
            for reader in every
            for way in Way
            for cell in judge(run, every[reader], way, found[run.writer, reader, way], patched)
        ]


def write_run(party: Party, folder: Path) -> Run:
    """Let a version run the flow. Raises BenchError if that fails, or it misreads itself."""
    name = party.version.name
    run = Run(name, folder / name / "store")
    run.root.mkdir()
    (run.root / "included.txt").write_text(f"a file of {name}")
    file = folder / name / "found.json"
    done = party.start(
        *(run, FLOW, "--no-pylint", "run", "--alpha", name, "--run-id-file", "run_id"),
        FOUND=str(file),
    )
    if done.returncode or any(json.loads(file.read_text()).values()):
        raise BenchError(f"Metaflow {name} cannot run the flow: {last_words(done)}")
    return Run(name, run.root, (run.root / "run_id").read_text())


def read_by_client(party: Party, runs: Sequence[Run]) -> list[Found]:
    """One process reads all runs."""
    what = [{"root": str(run.root), "id": run.id, "writer": run.writer} for run in runs]
    done = party.start(runs[0], CLIENT, json.dumps(what))
    if done.returncode:
        raise BenchError(f"the client of Metaflow {party.version.name} fails: {last_words(done)}")
    found: list[Found] = json.loads(done.stdout)
    return found


def read_in_step(run: Run, party: Party, number: int) -> Found:
    """A step of the writer's run under the reader, started as a scheduler starts one."""
    task = ("--run-id", run.id, "--task-id", str(100 + number))
    step = ("step", "end", *task, "--input-paths", f"{run.id}/start/1")
    stores = ("--datastore", "local", "--metadata", "local")
    return _read_by_flow(run, party, "--no-pylint", *stores, *step)


def read_by_resume(run: Run, party: Party, _: int) -> Found:
    resume = ("resume", "end", "--origin-run-id", run.id)
    return _read_by_flow(run, party, "--no-pylint", *resume)


def _read_by_flow(run: Run, party: Party, *arguments: str) -> Found:
    """What the last step found; if it did not come to that, how the command failed."""
    file = party.folder / f"found-{next(COUNT)}.json"
    done = party.start(run, FLOW, *arguments, FOUND=str(file))
    if file.exists():
        found: Found = json.loads(file.read_text())
        return found
    return {"": last_words(done)}


def last_words(done: "subprocess.CompletedProcess[str]") -> str:
    """The last error that was said: its line, and what follows where that ends in a colon."""
    said = [TASK.sub("", line).strip() for line in (done.stdout + done.stderr).splitlines()]
    errors = [number for number, line in enumerate(said) if ERROR.search(line)]
    if not errors:
        return next(filter(None, reversed(said)), "no output")
    # Metaflow's own errors have a heading, and the message is below it.
    headings = [number for number in errors if said[number].endswith("error:")]
    first = max(headings) if headings else errors[-1]
    last = next((n for n in range(first, len(said)) if not said[n]), len(said))
    return " ".join(said[first:last]) if headings else said[first]


def judge(run: Run, party: Party, way: Way, found: Found, patched: Tree) -> Iterator[Cell]:
    """A cell for each format that the writer used for what was read."""
    blobs, formats = run.blobs(), run.formats()
    # Something that failed as a whole concerns everything.
    kinds = {
        kind: found.get("", found.get(kind, "")) for kind in (formats if "" in found else found)
    }
    for name in sorted({formats[kind] for kind in kinds}):
        these = {kind: error for kind, error in kinds.items() if formats[kind] == name}
        outcomes = {kind: judge_error(error, blobs) for kind, error in these.items()}
        outcome = worst(list(outcomes.values()))
        error = next(these[kind] for kind, one in outcomes.items() if one is outcome)
        yield Cell(
            *(run.writer, party.version.name, way, name, outcome),
            shown(error, run, party),
            *(patched.series, platform.python_version()),
        )


def shown(error: str, run: Run, party: Party) -> str:
    """An error on one line, without the paths of this machine."""
    for folder in (run.root, party.environment.path):
        error = error.replace(str(folder), "...")
    return " ".join(error.split())


def judge_error(error: str, blobs: Mapping[str, Path]) -> Outcome:
    if not error:
        return Outcome.READS
    if error == WRONG:
        return Outcome.WRONG
    named = any(blob.name in error for blob in blobs.values())
    clear = named or any(remedy in error for remedy in REMEDIES)
    return Outcome.CLEAR if clear else Outcome.UNCLEAR
