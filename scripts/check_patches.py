#!/usr/bin/env python3
"""Door: hold the series to upstream's rules."""

from pathlib import Path
from typing import Annotated

import typer

import door
from patchstack.check import check_series
from patchstack.series import load_series
from patchstack.source import clone_source, pinned_source


def check(
    upstream_git: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A clone of upstream: run its own unit tests on stock and patched as well.",
        ),
    ] = None,
) -> None:
    """Hold every patch to upstream's rules, one gate after the other.

    Each topic alone on the pin, files in export form, lint of the diffs, code that compiles
    after every single patch, black as upstream pins it, Python 3.6, and the tests that the
    patches bring, run in environments of their own with and without their extras. Prints a
    line a gate and a line a finding; exit code 1 if there is any finding.
    """
    project = door.project()
    with project.exclusive():  # an export may be changing it
        series = load_series(project)
        source = pinned_source(project, series.pin)
    upstream = clone_source(series.pin, upstream_git) if upstream_git else None
    failed = False
    for result in check_series(project, series, source, upstream):
        failed = failed or bool(result.findings)
        verdict = "fail" if result.findings else "ok"
        door.out.print(f"{verdict:4}  {result.gate.value}  {result.note}".rstrip(), markup=False)
        for finding in result.findings:
            door.out.print(f"      {finding}", markup=False)
    if upstream_git is None:
        door.out.print("not run: upstream's unit tests, for want of --upstream-git PATH")
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    door.run(check)
