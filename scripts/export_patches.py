#!/usr/bin/env python3
"""Door: write the commits of branches back to patches/."""

from typing import Annotated

import typer

import door
from patchstack.export import export_branches
from patchstack.series import load_series
from patchstack.source import pinned_source


def export(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TOPIC|BRANCH]...",
            help="What to export. Default: every branch with commits that apply did not make.",
        ),
    ] = None,
    new_to: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC",
            help="The topic of new commits on the integration branch whose place does not tell it.",
        ),
    ] = None,
) -> None:
    """Write the commits of topic branches, or of the integration branch, to `patches/`.

    The files are rebuilt from the result: the whole series is applied with the new patches
    before any file changes, and what would not survive as a patch is refused. An unchanged
    series rewrites no byte, whatever your git configuration says.
    """
    project = door.project()
    with project.exclusive():  # from reading the series on: another export may be changing it
        door.finish_export(project)
        series = load_series(project)
        source = pinned_source(project, series.pin)
        done = export_branches(project, series, source, tuple(names or ()), new_to)
    for file in done.written:
        door.out.print(f"wrote   {project.show(file)}")
    for file in done.deleted:
        door.out.print(f"deleted {project.show(file)}")
    if not done.written and not done.deleted:
        door.out.print("patches/ already holds every commit")
    else:
        door.out.print("next: make apply brings the other branches up to date")


if __name__ == "__main__":
    door.run(export)
