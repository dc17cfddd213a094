#!/usr/bin/env python3
"""Door: measure the arms against each other."""

import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import door
from bench.arms import Arm, select_arms
from bench.machine import MOST_STEAL, Ticks, complaints
from bench.report import RESULTS, write_plots
from bench.results import load_rows
from bench.runner import Bench, run_benchmark
from bench.schedule import Step
from bench.statistics import compare_arms
from bench.tables import by_question, terminal, verdicts
from bench.workloads import STORES, Case, select_cases
from patchstack.series import load_series

QUICK_MINUTES, FULL_MINUTES = 3.0, 30.0
# Share of the time given; what is left is for the tables and the plots.
MEASURING = 0.95
TMPFS = Path("/dev/shm")
Names = list[str]


def benchmark(
    quick: Annotated[
        bool, typer.Option(help="The study's payloads only, in three minutes.")
    ] = False,
    workload: Annotated[Names, typer.Option(help="Only this workload, or family.")] = [],  # noqa: B006
    payload: Annotated[Names, typer.Option(help="Only this payload.")] = [],  # noqa: B006
    arm: Annotated[Names, typer.Option(help="Only this arm, and stock.")] = [],  # noqa: B006
    store: Annotated[Names, typer.Option(help=f"Only this store: {', '.join(STORES)}.")] = [],  # noqa: B006
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Time given; what does not fit gets fewer rounds.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Result file to add to.", show_default="data/results.tsv")
    ] = None,
    tmpfs: Annotated[Path, typer.Option(help="Folder in memory for stores.")] = TMPFS,
) -> None:
    """Apply the series, then measure stock against the arms; add rows to data/results.tsv.

    Every arm runs in its own processes, from its own source tree, with its own packages, in
    rounds forth and back. Stock runs twice, under two names: what differs there is noise, and a
    ratio that is not beyond it says nothing. If it is interrupted, the same command goes on.
    Options that name something can be given more than once.

    Only if asked for are measured: with --workload task, join, git, distant (S3 at 20 ms), swift
    (the same of OpenStack Swift), filecache, costs (of what a run does beside its steps) and peers;
    with --payload "float32 400 MB", "float64 400 MB", "data frame 100 MB", "Arrow table 100 MB",
    "foreach 400" and transformer; with --store disk. Arms of single topics or questions only with
    --workload or --arm.
    """
    begin = time.monotonic()
    project = door.project()
    series = load_series(project)
    cases = select_cases(workload, payload, store, quick=quick)
    topics = [topic.name for topic in series.topics]
    arms = select_arms(arm, topics, [case.family for case in cases] if workload else [])
    for line in complaints():
        _complain(line)
    out = results or project.root / RESULTS
    trees = door.trees(project, series, [tree for arm in arms for tree in arm.trees])
    limit = 60 * MEASURING * (minutes or (QUICK_MINUTES if quick else FULL_MINUTES))
    seconds = limit - (time.monotonic() - begin)
    bench = Bench(project.build / "bench", out, series.pin.release, trees, tmpfs, seconds)
    _show(out, _measure(bench, cases, arms))
    if results is None:
        write_plots(project.root)


def _measure(bench: Bench, cases: Collection[Case], arms: Collection[Arm]) -> str:
    """Run the benchmark under the eyes of the user; returns the name of the session."""
    before = Ticks.now()
    try:
        with _observer() as observer:
            session = run_benchmark(bench, cases, arms, observer)
    except KeyboardInterrupt:
        door.progress.print("interrupted: the same command goes on where this one stopped")
        sys.exit(130)
    steal, _ = Ticks.now().shares_since(before)
    if steal > MOST_STEAL:
        _complain(f"steal time of {steal:.1%} while measuring: measure again at another hour")
    return session


def _complain(line: str) -> None:
    door.progress.print(f"[yellow]this machine:[/] {line}")


class Lines:
    """Progress as plain lines, for logs."""

    def prepare(self, what: str) -> None:
        self.say(f"preparing {what}")

    def step(self, step: Step, seconds_left: float) -> None:
        if step.position == 0:  # one line for each round of a case is enough
            self.say(f"{_describe(step)}, {_minutes(seconds_left)} left")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class Bar:
    """Progress as a bar, for people."""

    def __init__(self, bar: Progress) -> None:
        self.bar, self.task = bar, bar.add_task("", total=None, left="")
        self.begin = time.monotonic()

    def prepare(self, what: str) -> None:
        self.bar.update(self.task, description=f"preparing {what}")

    def step(self, step: Step, seconds_left: float) -> None:
        elapsed = time.monotonic() - self.begin
        self.bar.update(
            self.task,
            completed=elapsed,
            total=elapsed + seconds_left,
            description=f"{_describe(step)}: {step.arm.name}",
            left=f"{_minutes(seconds_left)} left",
        )

    def say(self, line: str) -> None:
        self.bar.print(line, markup=False)


def _describe(step: Step) -> str:
    return f"round {step.round + 1} of {max(step.round + 1, step.case.rounds)}: {step.case}"


@contextmanager
def _observer() -> Iterator[Lines | Bar]:
    if not sys.stderr.isatty():
        yield Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, TimeElapsedColumn(), console=door.progress, transient=True) as bar:
        yield Bar(bar)


def _minutes(seconds: float) -> str:
    return f"about {round(seconds / 60)} min" if seconds > 90 else f"about {round(seconds)} s"


def _show(results: Path, session: str) -> None:
    rows = [row for row in load_rows(results) if row.session == session]
    for question, contrasts in by_question(compare_arms(rows)).items():
        door.out.print(f"\n[bold]{question}[/]")
        door.out.print(terminal(verdicts(contrasts)))


if __name__ == "__main__":
    door.run(benchmark)
