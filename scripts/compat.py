#!/usr/bin/env python3
"""Door: let every version of Metaflow read what every version wrote."""

from typing import Annotated

import typer

import door
from bench.arms import SERIES
from bench.report import write_compat
from compatibility.matrix import run_matrix
from compatibility.results import COMPAT, Outcome, compat_block, write_cells
from compatibility.versions import select_versions
from patchstack.series import load_series


def compat(
    release: Annotated[
        list[str],
        typer.Option(help="Only this release, and our arms; writes no file. Can be repeated."),
    ] = [],  # noqa: B006
) -> None:
    """Run a flow with each release and each of our arms, and read it with all of them.

    Through the client, by resume, and in a step of the same run. Writes data/compat.tsv and its
    table in status.md. Exit code 1 if anything reads wrong data.
    """
    project = door.project()
    versions = select_versions(release)
    patched = door.trees(project, load_series(project), [SERIES])[SERIES]
    cells = run_matrix(
        *(versions, patched, door.environments(project)),
        *(project.build / "compat", door.progress.print),
    )
    if release:
        door.out.print(compat_block(cells), markup=False)
    else:
        write_cells(project.root / COMPAT, cells)
        write_compat(project.root)
    wrong = [cell for cell in cells if cell.outcome is Outcome.WRONG]
    door.out.print(f"{len(cells)} cells, {len(wrong)} with wrong data", markup=False)
    if wrong:
        raise typer.Exit(1)


if __name__ == "__main__":
    door.run(compat)
