#!/usr/bin/env python3
"""Door: break stores, disks, processes and libraries, and count what promises that breaks."""

from typing import Annotated

import typer

import door
from bench.arms import SERIES, UPSTREAM
from bench.report import write_faults_table
from patchstack.series import load_series
from resilience.results import FAULTS, faults_block, write_faults
from resilience.runner import FULL, QUICK, run_faults, tooling_faults


def faults(
    quick: Annotated[
        bool, typer.Option("--quick", help="A sample of all, in a minute; writes no file.")
    ] = False,
) -> None:
    """Run the fault suites under stock and each of our arms.

    Writes data/faults.tsv and its table in status.md. What breaks a promise is a result, and no
    error of this command.
    """
    project = door.project()
    trees = door.trees(project, load_series(project), [UPSTREAM, SERIES])
    environments = door.environments(project)
    effort = QUICK if quick else FULL
    found = run_faults(project.root, environments, trees, effort, door.progress.print)
    if quick:
        door.out.print(faults_block(found), markup=False)
    else:
        write_faults(project.root / FAULTS, found)
        found += tooling_faults(project.root, door.progress.print)
        write_faults(project.root / FAULTS, found)
        write_faults_table(project.root)
    broken = sum(one.violations for one in found)
    door.out.print(f"{sum(one.cases for one in found):,} cases, {broken:,} violations")


if __name__ == "__main__":
    door.run(faults)
