#!/usr/bin/env python3
"""Door: rebuild the report."""

from typing import Annotated

import typer

import door
from bench.arms import ARMS
from bench.dependencies import PACKAGES, gather_dependency, write_dependencies
from bench.environments import Packages
from bench.import_times import IMPORTS, Import, time_imports, write_imports
from bench.report import DEPENDENCIES, write_report
from bench.results import PATCHED, STOCK
from patchstack.project import Project
from patchstack.series import load_series


def report(
    dependencies: Annotated[
        bool,
        typer.Option(
            "--dependencies",
            help="First look up and time the optional packages: data/dependencies.tsv.",
        ),
    ] = False,
    imports: Annotated[
        bool,
        typer.Option(
            "--imports", help="First time what `import metaflow` loads: data/imports.tsv."
        ),
    ] = False,
) -> None:
    """Rebuild the tables of README.md and status.md, and the plots, from data/results.tsv.

    Only the blocks between markers are generated. A file whose content is the same is not touched.
    """
    project = door.project()
    root = project.root
    if imports:
        write_imports(root / IMPORTS, _time_imports(project))
    if dependencies:
        with door.progress.status("") as status:
            found = []
            for number, (package, module) in enumerate(PACKAGES.items(), 1):
                status.update(f"looking up {package}, {number} of {len(PACKAGES)}")
                found.append(gather_dependency(package, module))
        write_dependencies(root / DEPENDENCIES, found)
    for path, changed in write_report(root, door.titles(project)).items():
        door.out.print(f"{'changed' if changed else 'same   '}  {path}", markup=False)


def _time_imports(project: Project) -> list[Import]:
    arms = [arm for arm in ARMS if arm.name in (STOCK, PATCHED)]
    trees = door.trees(project, load_series(project), [arm.tree for arm in arms])
    environments = door.environments(project)
    return [
        one
        for arm in arms
        for one in time_imports(
            arm.name, trees[arm.tree], environments.provide(trees[arm.tree], Packages())
        )
    ]


if __name__ == "__main__":
    door.run(report)
