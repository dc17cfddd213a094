#!/usr/bin/env python3
"""Door: rebuild the report."""

from typing import Annotated

import typer

import door
from bench.dependencies import PACKAGES, gather_dependency, write_dependencies
from bench.report import DEPENDENCIES, write_report


def report(
    dependencies: Annotated[
        bool,
        typer.Option(
            "--dependencies",
            help="First look up and time the optional packages: data/dependencies.tsv.",
        ),
    ] = False,
) -> None:
    """Rebuild the tables of README.md and status.md, and the plots, from data/results.tsv.

    Only the blocks between markers are generated. A file whose content is the same is not touched.
    """
    root = door.project().root
    if dependencies:
        with door.progress.status("") as status:
            found = []
            for number, (package, module) in enumerate(PACKAGES.items(), 1):
                status.update(f"looking up {package}, {number} of {len(PACKAGES)}")
                found.append(gather_dependency(package, module))
        write_dependencies(root / DEPENDENCIES, found)
    for path, changed in write_report(root).items():
        door.out.print(f"{'changed' if changed else 'same   '}  {path}", markup=False)


if __name__ == "__main__":
    door.run(report)
