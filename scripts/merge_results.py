#!/usr/bin/env python3
"""Door: add the rows of another machine to the results."""

from pathlib import Path
from typing import Annotated

import typer

import door
from bench.report import RESULTS
from bench.results import load_rows, merge_rows


def merge(
    others: Annotated[Path, typer.Argument(metavar="FILE", help="A result file.")],
    results: Annotated[
        Path | None, typer.Option(help="Result file to add to.", show_default="data/results.tsv")
    ] = None,
) -> None:
    """Add the rows of a result file that data/results.tsv does not have."""
    rows = load_rows(others)
    into = results or door.project().root / RESULTS
    added = merge_rows(into, rows)
    door.out.print(f"{added} rows added, {len(rows) - added} were there: {into}", markup=False)
    for machine in sorted({f"{row.processor} ({row.machine}), {row.system}" for row in rows}):
        door.out.print(f"measured on {machine}", markup=False)


if __name__ == "__main__":
    door.run(merge)
