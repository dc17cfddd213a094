"""The sweep: the benchmark in cells, which Metaflow takes to as many machines as there are.

A cell is one arm beside stock, one workload, one payload, one Python, one machine type. Metaflow
schedules the cells (bench/sweep_flow.py), a task measures its cell with the code of `make bench`
(bench/cell.py), and this module does what comes before and after: it reads bench/sweep.toml, packs
what a task needs into one archive, starts or resumes the flow, and adds what it found to the
results. Rows carry the fingerprint of the machine that measured them, so nothing is compared
across machines (bench/statistics.py).

Metaflow gives all tasks of a step one set of resources, so there is one run for each machine type.
"""

import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import uv
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator
from tomlkit.exceptions import TOMLKitError

from bench.arms import ARMS, CONTROLS, select_arms
from bench.environments import ROOT, Environment, Tree, clean_environment
from bench.errors import BenchError
from bench.records import load_records, write_records
from bench.results import load_rows, merge_rows
from bench.workloads import Case, select_cases

PLAN = Path(__file__).with_name("sweep.toml")
FLOW = Path(__file__).with_name("sweep_flow.py")
OUTCOMES = Path("data", "sweep.tsv")
# What tasks need of this project: the code that measures, and the versions it runs with.
CODE = ("pyproject.toml", "uv.lock", "bench/**/*.py")
# So many cells at once: here they would disturb each other, in a cloud each has its own machine.
HERE_AT_ONCE, CLOUD_AT_ONCE = 1, 16
# What Metaflow asks of whoever starts or compiles a flow for a cluster.
CONFIGURE = (
    "configure Metaflow for the cluster: METAFLOW_USER (or USERNAME), METAFLOW_DEFAULT_DATASTORE "
    "(s3, azure or gs), METAFLOW_DATASTORE_SYSROOT_S3 (_AZURE or _GS), and its credentials"
)
# Otherwise Metaflow asks a server of S3 that does not answer for more than an hour: boto3 asks it
# ten times in each try.
ONE_TRY = {"METAFLOW_S3_RETRY_COUNT": "0", "METAFLOW_S3_TRANSIENT_RETRY_COUNT": "0"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Names = Annotated[tuple[str, ...], Field(min_length=1)]
# As TOML has them: a list of secrets, a table of labels.
Settings = dict[str, Any]


class Machine(_Strict):
    """A machine type: settings of the decorator that gets it; without any, the machine at hand."""

    kubernetes: Settings | None = None
    batch: Settings | None = None

    @model_validator(mode="after")
    def _check_backend(self) -> "Machine":
        if self.kubernetes is not None and self.batch is not None:
            raise ValueError("a machine is of kubernetes or of batch, not of both")
        return self

    @property
    def backend(self) -> str | None:
        return next(
            (one for one in ("kubernetes", "batch") if getattr(self, one) is not None), None
        )

    @property
    def decorator(self) -> str | None:
        """What Metaflow's `--with` takes."""
        if self.backend is None:
            return None
        settings = getattr(self, self.backend).items()
        shown = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in settings]
        return f"{self.backend}:{','.join(shown)}" if shown else self.backend


class Block(_Strict):
    """A block of cells: everything in it times everything."""

    arms: Names
    # Payloads by workload, or by family of workloads.
    measure: Annotated[dict[str, Names], Field(min_length=1)]
    stores: tuple[str, ...] = ()
    pythons: Names
    machines: Names


class Plan(_Strict):
    """bench/sweep.toml."""

    minutes: PositiveFloat
    cells: Annotated[tuple[Block, ...], Field(min_length=1)]
    machines: dict[str, Machine]


@dataclass(frozen=True)
class Cell:
    """What one task measures; `store` is empty where the workload decides."""

    arm: str
    workload: str
    payload: str
    store: str
    python: str
    machine: str
    minutes: float


@dataclass(frozen=True)
class Outcome:
    """data/sweep.tsv: what became of a cell. The columns are these fields, in order."""

    time: str  # of the end of its task: UTC, ISO 8601; of the merge, if the task was lost
    sweep: str  # hash of what traveled to the task, 12 hex digits
    run: str  # of the flow
    arm: str
    workload: str
    payload: str
    store: str
    python: str  # as asked for
    machine: str  # type, as asked for
    outcome: str  # measured, failed (the task says why), lost (there is no task to say why)
    reason: str  # of a cell that was not measured
    fingerprint: str  # of the machine that the task ran on; "-" if it cannot say
    rows: int  # in data/results.tsv


def load_plan(path: Path) -> Plan:
    """Raises BenchError for a file that is missing or says what cannot be."""
    try:
        plan = Plan.model_validate(tomlkit.parse(path.read_text(encoding="utf-8")).unwrap())
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}: name another --plan") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BenchError(f"{path}: {where}: {first['msg']}: see bench/sweep.toml") from None
    for name in (name for block in plan.cells for name in block.machines):
        if name not in plan.machines:
            raise BenchError(f"{path}: there is no machine {name!r}: add [machines.{name}]")
    return plan


def plan_cells(plan: Plan, topics: Iterable[str]) -> list[Cell]:
    """All cells, in order, each once. Raises BenchError for one that nothing could measure."""
    topics = list(topics)
    found: dict[Cell, None] = {}
    for block in plan.cells:
        select_arms(block.arms, topics)
        for cell in _block_cells(block, plan.minutes):
            found[cell] = None
    return list(found)


def _block_cells(block: Block, minutes: float) -> Iterator[Cell]:
    for workload, payloads in block.measure.items():
        for payload in payloads:
            for store in block.stores or ("",):
                cases = cell_cases(workload, payload, store)
                for arm in block.arms:
                    _check_differs(arm, workload, cases)
                for machine in block.machines:
                    for python in block.pythons:
                        for arm in block.arms:
                            what = arm, workload, payload, store
                            yield Cell(*what, python, machine, minutes)


def cell_cases(workload: str, payload: str, store: str) -> tuple[Case, ...]:
    """What a cell measures. Raises BenchError if there is no such thing."""
    try:
        return select_cases([workload], [payload], [store] if store else [], quick=False)
    except BenchError as error:
        what = ", ".join(name for name in (workload, payload, store) if name)
        raise BenchError(f"cell {what}: {error}") from None


def _check_differs(name: str, workload: str, cases: Sequence[Case]) -> None:
    """Refuse a cell that has nothing beside stock: no task would be of use."""
    families = {case.family for case in cases}
    others = [arm.name for arm in ARMS if arm.families & families and arm.name not in CONTROLS]
    if name not in others:
        raise BenchError(
            f"arm {name} does not differ from stock in workload {workload}: name others in that "
            f"block of the plan: {', '.join(others)}"
        )


@dataclass(frozen=True)
class Archive:
    """What travels to the tasks."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return self.sha256[:12]


def pack_archive(
    folder: Path, cells: Sequence[Cell], trees: Mapping[str, Tree], release: str
) -> Archive:
    """One file with the arms' wheels, the code that measures, and the cells.

    The same content gives the same bytes, and so the same sweep: its hash is its name.
    """
    files = {str(file.relative_to(ROOT)): file for one in CODE for file in sorted(ROOT.glob(one))}
    manifest: dict[str, Any] = {
        "release": release,
        "uv": importlib.metadata.version("uv"),
        "trees": {},
        "cells": [asdict(cell) for cell in cells],
    }
    for name, tree in trees.items():
        # The folder's name is the commit of the tree; environments are told apart by it.
        wheel = f"wheels/{tree.wheel.parent.name}/{tree.wheel.name}"
        files[wheel] = tree.wheel
        manifest["trees"][name] = {"wheel": wheel, "series": tree.series}
    content = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 6, content, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        _add(tar, "manifest.json", json.dumps(manifest, indent=1).encode())
        for name, file in files.items():
            _add(tar, name, file.read_bytes())
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    path = folder / f"{sha256[:12]}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content.getvalue())
    partial.replace(path)
    return Archive(path, sha256)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


@dataclass(frozen=True)
class Sweep:
    """A sweep on one machine type: how its flow is run, and where it left off."""

    folder: Path
    environment: Environment  # of the flow: stock Metaflow at the pin
    archive: Archive
    machine: str
    settings: Machine
    cells: int
    # That a cell measures for, at most.
    minutes: float

    @property
    def run_file(self) -> Path:
        """Holds the id of the run that is not finished, or whose rows are not merged."""
        return self.folder / f"{self.archive.name}-{self.machine}.run"

    @property
    def tag(self) -> tuple[str, str]:
        """By which runs on other machine types find each other."""
        return "--tag", f"sweep:{self.archive.name}"

    def command(self, *command: str) -> list[str]:
        """The flow with a command of Metaflow's."""
        top = ["--quiet", "--no-pylint"]
        if self.settings.decorator:
            top += ["--with", self.settings.decorator]
        return [str(self.environment.python), str(FLOW), *top, *command]

    def run_command(self, cells_at_once: int) -> list[str]:
        """Start the run, or go on with the one that was not finished."""
        limits = ["--max-workers", str(cells_at_once), "--max-num-splits", str(self.cells)]
        limits += ["--run-id-file", str(self.run_file), *self.tag]
        if self.run_file.exists():
            return self.command("resume", "--origin-run-id", self.run_file.read_text(), *limits)
        here = [] if self.settings.backend else ["--folder", str(self.folder)]
        what = ["--archive", str(self.archive.path), "--sha256", self.archive.sha256]
        return self.command("run", *what, "--machine", self.machine, *here, *limits)

    def environ(self) -> dict[str, str]:
        """Of the flow's processes: on this machine a store of its own, else what the user set."""
        own = {"SWEEP_ARCHIVE": str(self.archive.path), "SWEEP_SHA256": self.archive.sha256}
        own |= {"SWEEP_MACHINE": self.machine}
        if self.settings.backend:
            return dict(os.environ) | own
        store = str(self.folder)
        own |= {"METAFLOW_DATASTORE_SYSROOT_LOCAL": store, "METAFLOW_HOME": store}
        return clean_environment(SWEEP_UV=uv.find_uv_bin(), **own)


def run_sweep(sweep: Sweep, cells_at_once: int) -> None:
    """Run the flow to its end. Raises BenchError if it stops before."""
    command = sweep.run_command(cells_at_once)
    with subprocess.Popen(
        command, cwd=sweep.folder, env=sweep.environ(), stdout=sys.stderr
    ) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            # The flow has been interrupted as well: it ends when its tasks have.
            process.wait()
            raise
    if process.returncode and not sweep.run_file.exists():
        remedy = CONFIGURE if sweep.settings.backend else "mend it and run again"
        raise BenchError(f"the flow did not start, see above: {remedy}")
    if process.returncode:
        raise BenchError(
            "the flow stopped, see above: the same command goes on where it did; to begin anew, "
            f"delete {sweep.run_file}"
        )


def compile_argo(sweep: Sweep, cells_at_once: int) -> str:
    """The manifest of an Argo workflow template; the archive goes to the datastore.

    Raises BenchError for a machine that is not Kubernetes', or without a datastore in a cloud.
    """
    if sweep.settings.kubernetes is None:
        raise BenchError(f"machine {sweep.machine} is not one of Kubernetes: name one that is")
    limits = ("--max-workers", str(cells_at_once))
    command = sweep.command("argo-workflows", "create", "--only-json", *sweep.tag, *limits)
    env = ONE_TRY | sweep.environ()
    done = subprocess.run(command, cwd=sweep.folder, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BenchError(f"Metaflow cannot compile the flow, see above: {CONFIGURE}")
    return done.stdout


def collect(sweep: Sweep, run: str, results: Path, outcomes: Path) -> list[Outcome]:
    """Add what a finished run found, unless it is there; returns what became of its cells.

    Raises BenchError for a run that is not finished, or that Metaflow cannot read.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "join.pickle")
        command = sweep.command("dump", f"{run}/join", "--include", "rows,outcomes", "--file")
        done = subprocess.run(
            [*command, str(file)], cwd=sweep.folder, env=sweep.environ(), stdout=sys.stderr
        )
        if done.returncode:
            raise BenchError(
                f"Metaflow cannot read run {run}, see above: configure it as when that run started"
            )
        found = pickle.loads(file.read_bytes())
        if not found:
            raise BenchError(f"run {run} has no joined rows: let it finish, then collect it")
        (joined,) = found.values()
        rows = Path(folder, "results.tsv")
        rows.write_text(joined["rows"], encoding="utf-8")
        merge_rows(results, load_rows(rows))
    return _merge_outcomes(outcomes, [_outcome(one) for one in joined["outcomes"]])


def _outcome(found: Mapping[str, Any]) -> Outcome:
    return Outcome(**{field.name: found[field.name] for field in fields(Outcome)})


def load_outcomes(path: Path) -> list[Outcome]:
    """Raises BenchError for a file that is missing or foreign."""
    return load_records(path, Outcome, "make it with make sweep")


def _merge_outcomes(path: Path, added: Sequence[Outcome]) -> list[Outcome]:
    """Add those that are not there: a cell has one outcome in a run."""
    known = load_outcomes(path) if path.exists() else []
    write_records(path, Outcome, list(dict.fromkeys([*known, *added])))
    return list(added)
