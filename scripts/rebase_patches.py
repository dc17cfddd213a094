#!/usr/bin/env python3
"""Door: try the series on other releases of upstream, and move the pin."""

import json
from typing import Annotated

import typer
from rich.table import Table

import door
from patchstack.errors import SeriesError
from patchstack.rebase import ReleaseReport, move_pin, try_release
from patchstack.series import load_series
from patchstack.source import pinned_source


def rebase(
    to: Annotated[
        list[str], typer.Option(metavar="RELEASE", help="A release to try; may be repeated.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="Move the pin there if every patch applies or has landed."),
    ] = False,
    commit: Annotated[
        str | None,
        typer.Option(help="The release's commit, where only its sdist is at hand (--write)."),
    ] = None,
) -> None:
    """Try the whole series on other releases, without touching the current state.

    Every patch gets a verdict: *clean*, *applies with offset*, *conflicts* (with files and
    hunks), *already landed*, or *landed but modified* (at least half of what it adds is new
    in that release too). With several releases the table is a drift report.

    Exit code 1 if a patch neither applies nor has landed on one of the releases.
    """
    project = door.project()
    if write and len(to) != 1:
        raise SeriesError("--write moves the pin to one release: give one --to")
    with project.exclusive():  # from reading the series on: an export may be changing it
        series = load_series(project)
        pinned = pinned_source(project, series.pin)
        reports = []
        with door.progress.status("") as status:
            for release in to:
                status.update(f"trying the series on {release}")
                reports.append(try_release(project, series, pinned, release))
        if as_json:
            print(json.dumps([_plain(report) for report in reports], indent=2))
        else:
            door.show(_table(reports))
        if write:
            pin = move_pin(project, series, pinned, reports[0], commit)
            door.progress.print(
                f"the pin is now {pin.release} ({pin.commit[:12]}): review with git diff"
            )
    if not all(report.settled for report in reports):
        raise typer.Exit(1)


def _plain(report: ReleaseReport) -> dict[str, object]:
    return {
        "release": report.release,
        "source": report.source.kind.value if report.source else None,
        "problem": report.problem or None,
        "patches": [
            {
                "topic": one.topic,
                "patch": one.patch,
                "outcome": one.outcome.value,
                "rejects": [vars(reject) for reject in one.rejects],
                "not tried": list(one.left_out),
            }
            for one in report.verdicts
        ],
    }


def _table(reports: list[ReleaseReport]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("release", "topic", "patch", "verdict"):
        table.add_column(title, overflow="fold")
    for report in reports:
        for one in report.verdicts:
            table.add_row(report.release, one.topic, one.patch, one.outcome.value)
            for reject in one.rejects:
                table.add_row("", "", "", f"  {reject}")
            for path in one.left_out:
                table.add_row("", "", "", f"  {path}: not in the sdist, not tried")
        if not report.verdicts:
            table.add_row(report.release, "", "", report.problem or "the series has no patches")
    return table


if __name__ == "__main__":
    door.run(rebase)
