#!/usr/bin/env python3
"""Door: follow README.md as a newcomer does, and time it."""

import door
from bench.newcomer import NEWCOMER, Step, follow_page
from bench.records import write_records
from bench.report import write_report
from bench.tables import quantity


def newcomer() -> None:
    """Run the two commands of README.md in a fresh clone of this commit, with an empty home.

    Writes data/newcomer.tsv, and the sentence of README.md that is made from it. Takes as long as
    the benchmark and all tests.
    """
    project = door.project()
    root = project.root
    steps = list[Step]()
    for step in follow_page(root, lambda command: door.progress.print(command, markup=False)):
        door.progress.print(f"took {quantity(step.seconds, 's')}", markup=False)
        steps.append(step)
    write_records(root / NEWCOMER, Step, steps)
    write_report(root, door.titles(project))


if __name__ == "__main__":
    door.run(newcomer)
