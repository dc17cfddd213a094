#!/usr/bin/env python3
"""Door: build the branches of the series on upstream at the pin."""

from typing import Annotated

import typer
from rich.table import Table

import door
from patchstack.apply import BranchState, Verdict, apply_series, check_applied
from patchstack.series import load_series
from patchstack.source import pinned_source

DONE = {
    Verdict.UP_TO_DATE: "up to date",
    Verdict.MISSING: "created",
    Verdict.DIFFERS: "moved",
    Verdict.STALE: "removed: no longer in the series",
}


def apply(
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit 1 on any difference from the series."),
    ] = False,
) -> None:
    """Build one branch for each topic, and one for the whole series, on upstream at the pin.

    The branches are made in the submodule `metaflow/` where it is initialized, else in a
    repository made from the release's sdist under `build/upstream/`. Work trees are never
    touched: switch to a branch to edit it, commit, then run `make export`.

    Applying an applied series does nothing. Uncommitted changes, and commits that no patch
    holds, are refused and named; a patch that does not fit is reported with its hunks and
    leaves everything as it was.
    """
    project = door.project()
    with project.exclusive():  # from reading the series on: an export may be changing it
        if not check:
            door.finish_export(project)
        series = load_series(project)
        source = pinned_source(project, series.pin)
        compare = check_applied if check else apply_series
        comparison = compare(project, series, source)
    table = Table("branch", "commit", "state", box=None, pad_edge=False)
    for state in comparison.states:
        said = state.verdict.value if check else DONE[state.verdict]
        table.add_row(state.branch, "" if state.verdict is Verdict.STALE else state.new[:12], said)
    where = project.show(source.repo.path)
    door.out.print(f"metaflow {source.release} from the {source.kind.value} in {where}")
    door.show(table)
    for state in comparison.states:
        _tell_left_out(state)
    if check and not comparison.same:
        raise typer.Exit(1)


def _tell_left_out(state: BranchState) -> None:
    if state.left_out:
        door.progress.print(
            f"note: left out of {state.branch}, because the sdist does not have them: "
            f"{', '.join(state.left_out)}"
        )


if __name__ == "__main__":
    door.run(apply)
