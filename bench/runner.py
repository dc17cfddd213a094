"""Runs the arms against each other, each in its own process from its own tree."""

import contextlib
import hashlib
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from bench.arms import CONTROLS, Arm
from bench.environments import Environment, Environments, Packages, Tree
from bench.errors import BenchError
from bench.hyperfine import find_hyperfine
from bench.machine import this_machine
from bench.results import COSTS, STOCK, append_rows
from bench.schedule import Done, Schedule, Step, is_done, steps_of_round
from bench.servers import Server, serve
from bench.session import Session, close_session, one_benchmark, open_session
from bench.tables import quantity
from bench.workers.payloads import PAYLOADS
from bench.workloads import DISK, SERVED, TMPFS, Case, Finding, Place, label_cases, measure

# What a flow keeps on its store, and some room.
LEAST_SPACE = 1_000_000_000


class Observer(Protocol):
    """Who is told what happens."""

    def prepare(self, what: str) -> None: ...
    def step(self, step: Step, seconds_left: float) -> None: ...
    def say(self, line: str) -> None: ...


@dataclass(frozen=True)
class Bench:
    """All that a benchmark needs to know."""

    # Its files: environments, locks, scratch.
    folder: Path
    results: Path
    release: str
    # By the name an arm has for its tree.
    trees: Mapping[str, Tree]
    tmpfs: Path
    seconds: float
    # Where environments are shared; by default in `folder`.
    environments: Path | None = None


def run_benchmark(
    bench: Bench, cases: Collection[Case], arms: Collection[Arm], observer: Observer
) -> str:
    """Measure, and append rows to the results; returns the name of the session.

    Raises BenchError for whatever the user can mend. May be killed at any time: the same call
    goes on where this one stopped.
    """
    end = time.monotonic() + bench.seconds
    contenders = [arm for arm in arms if arm.name not in CONTROLS] or arms
    cases = [case for case in cases if any(map(case.is_for, contenders))]
    if not cases:
        raise BenchError("these arms do not differ in these workloads: name others")
    if any({"import", "flow", "task", COSTS} & {*case.workloads} for case in cases):
        find_hyperfine()
    with one_benchmark(bench.folder), contextlib.ExitStack() as stack:
        environments = Environments(bench.environments or bench.folder / "environments")
        scratch = stack.enter_context(_scratch(bench, cases))
        session, done = open_session(
            *(bench.folder, bench.results, this_machine(), bench.release),
            *(cases, arms, bench.trees),
        )
        if done:
            observer.say(f"going on with session {session.name}")
        run = _Run(bench, session, environments, scratch, observer, end)
        run.provide(cases, arms)
        for store in dict.fromkeys(case.store for case in cases if case.store in SERVED):
            observer.prepare(f"server of store {store}")
            server = serve(store, environments, scratch[TMPFS] / f"server-{store}")
            try:
                run.servers[store] = stack.enter_context(server)
            except BenchError as error:
                # Not every machine has what a server needs; who names stores wants them.
                if all(case.store in SERVED for case in cases):
                    raise
                observer.say(f"store {store} is left out: {error}")
                cases = [case for case in cases if case.store != store]
        run.label(cases, arms, done)
        run.rounds(cases, arms, done)
        close_session(bench.folder)
    return session.name


@contextlib.contextmanager
def _scratch(bench: Bench, cases: Collection[Case]) -> Iterator[dict[str, Path]]:
    """Empty folders on the stores' file systems, with room for the largest payload."""
    # One for a checkout, so that what a killed benchmark left is found and goes.
    name = "metaflow-perf-" + hashlib.sha256(str(bench.folder.resolve()).encode()).hexdigest()[:8]
    folders = {DISK: bench.folder / "scratch"}
    if any(case.store == TMPFS for case in cases) or is_tmpfs(bench.tmpfs):
        if not is_tmpfs(bench.tmpfs):
            raise BenchError(
                f"{bench.tmpfs} is no tmpfs: name the folder of one with --tmpfs of "
                "make bench, or measure on the store disk"
            )
        folders[TMPFS] = bench.tmpfs / name
    else:
        folders[TMPFS] = folders[DISK] / "tmpfs"
    try:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
            # What a killed benchmark started may still be writing into it.
            folder.mkdir(parents=True, exist_ok=True)
            _check_space(folder, cases)
        yield folders
    finally:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)


def is_tmpfs(folder: Path) -> bool:
    """Whether a folder lies in memory."""
    if not folder.is_dir():
        return False
    mounts = {
        Path(one.mountpoint): one.fstype
        for one in psutil.disk_partitions(all=True)
        if folder.resolve().is_relative_to(one.mountpoint)
    }
    return bool(mounts) and mounts[max(mounts, key=lambda one: len(one.parts))] == "tmpfs"


def _check_space(folder: Path, cases: Collection[Case]) -> None:
    sizes = [PAYLOADS[name].size for case in cases for name in case.payloads if name in PAYLOADS]
    needed = LEAST_SPACE + 2 * max(sizes, default=0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BenchError(
            f"{folder.parent} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed: "
            "free some, choose smaller payloads, or another folder with --tmpfs of make bench"
        )


@dataclass
class _Run:
    """A session while it runs."""

    bench: Bench
    session: Session
    environments: Environments
    scratch: Mapping[str, Path]
    observer: Observer
    end: float
    servers: dict[str, Server] = field(default_factory=dict)
    provided: dict[tuple[str, Packages, bool], Environment] = field(default_factory=dict)

    def provide(self, cases: Collection[Case], arms: Collection[Arm]) -> None:
        """Make all environments, before anything is timed."""
        for case in cases:
            for step in steps_of_round(case, arms, 0):
                for tree in step.arm.trees:
                    self._environment(step, tree)

    def _environment(self, step: Step, name: str) -> Environment:
        packages = step.case.packages + Packages(step.arm.installed)
        key = (name, packages, step.case.bytecode)
        if key not in self.provided:
            self.observer.prepare(f"environment of {step.arm.name} for {step.case}")
            tree = self.bench.trees[name]
            self.provided[key] = self.environments.provide(tree, packages, step.case.bytecode)
        return self.provided[key]

    def label(self, cases: Collection[Case], arms: Collection[Arm], done: Done) -> None:
        """Describe the payloads, once."""
        stock = next(arm for arm in arms if arm.name == STOCK)
        for case in label_cases(cases):
            step = Step(0, 0, case, stock)
            if not is_done(step, done):
                self.observer.prepare(f"labels of {case}")
                found = self._measure(step)
                for name in case.payloads:
                    self.observer.say(_label([one for one in found if one.payload == name]))

    def rounds(self, cases: Collection[Case], arms: Collection[Arm], done: Done) -> None:
        schedule = Schedule(cases, arms, done, self.end, self._say_short)
        for step in schedule.steps():
            self.observer.step(step, schedule.seconds_left())
            self._measure(step)

    def _say_short(self, case: Case, rounds: int) -> None:
        self.observer.say(
            f"{case}: {rounds} of {case.rounds} rounds fit into the time given; for more, give "
            "more minutes, or measure it alone"
        )

    def _measure(self, step: Step) -> list[Finding]:
        environment = self._environment(step, step.arm.tree)
        writer = self._environment(step, step.arm.writer) if step.arm.writer else None
        home = self.scratch[DISK if step.case.store == DISK else TMPFS]
        server = self.servers.get(step.case.store, Server(""))
        folder = Path(tempfile.mkdtemp(dir=home))
        store = server.root or str(folder / "stores")
        (folder / "stores").mkdir()
        try:
            findings = measure(
                step.case, step.arm, Place(environment, folder, store, server.settings, writer)
            )
        except BenchError as error:
            raise _explain(error, step, folder) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        # What another tree saved decides how it is loaded: its patches are the arm's.
        tree = self.bench.trees[step.arm.trees[-1]]
        rows = self.session.rows(step, findings, tree.series, environment.libraries)
        append_rows(self.bench.results, rows)
        return findings


def _label(findings: Collection[Finding]) -> str:
    """A payload in a line: "payload text: 466 KB, entropy 4.5, ..."."""
    first = next(iter(findings))
    what = ", ".join(f"{one.metric.replace('_', ' ')} {one.value:.2f}" for one in findings)
    return f"payload {first.payload}: {quantity(first.bytes, 'B')}, {what}"


def _explain(error: BenchError, step: Step, folder: Path) -> BenchError:
    if "No space left on device" in str(error):
        return BenchError(f"no space left on {folder.parent}: free some and run again")
    return BenchError(f"arm {step.arm.name} failed at {step.case}: {error}")
