#!/usr/bin/env python3
"""Door: measure cells on many machines, as a Metaflow flow."""

import contextlib
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import door
from bench.arms import ARMS, CONTROLS
from bench.environments import Packages
from bench.errors import BenchError
from bench.report import RESULTS, write_scale_table
from bench.results import PATCHED, STOCK
from bench.scale import SCALE, WIDTHS, Scale, Subject, measure_scale, write_scale
from bench.session import one_benchmark
from bench.sweep import (
    CLOUD_AT_ONCE,
    HERE_AT_ONCE,
    OUTCOMES,
    PLAN,
    Outcome,
    Sweep,
    collect,
    compile_argo,
    load_plan,
    pack_archive,
    plan_cells,
    run_sweep,
)
from patchstack.project import Project
from patchstack.series import load_series

Names = list[str]


def sweep(
    machine: Annotated[
        Names, typer.Option(help="Machine types of the plan.", show_default="this machine")
    ] = [],  # noqa: B006
    plan: Annotated[
        Path, typer.Option(help="Cells and machine types.", show_default="bench/sweep.toml")
    ] = PLAN,
    cells_at_once: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=f"{HERE_AT_ONCE} on this machine, where they disturb each other, "
            f"or {CLOUD_AT_ONCE}",
        ),
    ] = None,
    collect_run: Annotated[
        str | None, typer.Option("--collect", help="Only add what this finished run found.")
    ] = None,
    argo: Annotated[
        bool, typer.Option("--argo", help="Only print the manifest for Argo Workflows.")
    ] = False,
    scale: Annotated[
        bool,
        typer.Option(
            "--scale", help="Only time what scheduling costs, ten minutes: data/scale.tsv."
        ),
    ] = False,
    results: Annotated[
        Path | None, typer.Option(help="Result file to add to.", show_default="data/results.tsv")
    ] = None,
) -> None:
    """Measure the cells of a plan as a Metaflow flow; when all have ended, add them to data/.

    A cell is one arm beside stock, a workload, a payload, a Python and a machine type; it is
    measured as `make bench` measures. If it is interrupted, the same command goes on. Cells that
    failed are in data/sweep.tsv, with their reasons.
    """
    project = door.project()
    if scale:
        _scale(project)
        return
    if collect_run and len(machine) > 1:
        raise BenchError("a run is of one machine type: name one --machine beside --collect")
    out = results or project.root / RESULTS
    outcomes = out.with_name(OUTCOMES.name)
    for one in _sweeps(project, plan, machine):
        if argo:
            door.progress.print(
                "compiling for Argo Workflows: the archive goes to the datastore, whose server "
                "is waited for"
            )
            print(compile_argo(one, cells_at_once or CLOUD_AT_ONCE), end="")
            continue
        if collect_run is None:
            _run(project, one, cells_at_once)
        run = collect_run or one.run_file.read_text()
        _show(collect(one, run, out, outcomes))
        if collect_run is None:
            one.run_file.unlink()


def _sweeps(project: Project, file: Path, machines: Names) -> list[Sweep]:
    series = load_series(project)
    plan = load_plan(file)
    cells = plan_cells(plan, [topic.name for topic in series.topics])
    chosen = machines or [name for name, one in plan.machines.items() if one.backend is None]
    counts = Counter(cell.machine for cell in cells)
    for name in chosen:
        if name not in plan.machines:
            raise BenchError(
                f"there is no machine {name!r}: choose from {', '.join(plan.machines)}"
            )
        if not counts[name]:
            raise BenchError(f"no cell is for machine {name}: add it to the machines of a block")
    wanted = {*CONTROLS, *(cell.arm for cell in cells)}
    needed = [tree for arm in ARMS if arm.name in wanted for tree in arm.trees]
    trees = door.trees(project, series, needed)
    folder = project.build / "sweep"
    archive = pack_archive(folder, cells, trees, series.pin.release)
    found = []
    for name in chosen:
        settings = plan.machines[name]
        packages = Packages(("kubernetes",) if settings.backend == "kubernetes" else ())
        environment = door.environments(project).provide(trees["upstream"], packages)
        found.append(
            Sweep(folder, environment, archive, name, settings, counts[name], plan.minutes)
        )
    return found


def _run(project: Project, one: Sweep, cells_at_once: int | None) -> None:
    remote = one.settings.backend is not None
    at_once = cells_at_once or (CLOUD_AT_ONCE if remote else HERE_AT_ONCE)
    minutes = one.minutes * math.ceil(one.cells / at_once)
    what = (
        f"going on with run {one.run_file.read_text()} on {one.machine}: cells that have ended "
        "are not measured again"
        if one.run_file.exists()
        else f"sweeping {one.cells} cells on {one.machine}: at most {minutes:g} minutes, and what "
        "making environments takes"
    )
    # Not while `make bench` runs here.
    alone = contextlib.nullcontext() if remote else one_benchmark(project.build / "bench")
    try:
        with alone:
            door.progress.print(what, markup=False)
            run_sweep(one, at_once)
    except KeyboardInterrupt:
        door.progress.print("interrupted: the same command goes on where this one stopped")
        sys.exit(130)


def _scale(project: Project) -> None:
    """Time the scheduler under stock and the series, and rebuild the table of it."""
    series = load_series(project)
    arms = [arm for arm in ARMS if arm.name in (STOCK, PATCHED)]
    trees = door.trees(project, series, [arm.tree for arm in arms])
    environments = door.environments(project)
    subjects = []
    for arm in arms:
        environment = environments.provide(trees[arm.tree], Packages())
        subjects.append(Subject(arm.name, trees[arm.tree], environment, series.pin.release))
    found: list[Scale] = []
    # Not while `make bench` runs here.
    with one_benchmark(project.build / "bench"):
        for one in measure_scale(subjects, WIDTHS, project.build / "scale"):
            door.progress.print(
                f"{one.arm}, {one.width} {one.tasks} cells: scheduler {one.scheduler_seconds} s"
            )
            found.append(one)
    write_scale(project.root / SCALE, found)
    write_scale_table(project.root)


def _show(outcomes: list[Outcome]) -> None:
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    titles = ("arm", "workload", "payload", "store", "python", "machine", "outcome", "rows")
    for title in titles:
        table.add_column(title, justify="right" if title == "rows" else "left")
    for one in outcomes:
        what = (one.arm, one.workload, one.payload, one.store, one.python, one.machine)
        table.add_row(*what, one.outcome, str(one.rows))
    door.show(table)
    for one in outcomes:
        if one.reason:
            cell = f"{one.workload}, {one.payload}, {one.python}"
            door.out.print(f"{one.outcome}: {one.arm}, {cell}: {one.reason}", markup=False)
    counts = Counter(one.outcome for one in outcomes)
    door.out.print(", ".join(f"{count} {what}" for what, count in counts.items()), markup=False)


if __name__ == "__main__":
    door.run(sweep)
