#!/usr/bin/env python3
"""Door: compare two result files."""

from pathlib import Path
from typing import Annotated

import typer

import door
from bench.comparison import compare_results
from bench.results import load_rows
from bench.statistics import Verdict
from bench.tables import BESIDE_BEFORE, by_question, terminal, verdicts


def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="A result file, such as main's.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The result file to be judged.")],
) -> None:
    """Say for every arm whether B is faster or slower than A, or smaller or larger.

    What is compared is the arm's ratio to the stock of its own file, so that a day on which the
    machine is slower is no finding. Rows of different machines, Pythons, releases or benchmark code
    are not compared. Exit code 1 if anything is slower or larger, or if nothing can be compared.
    """
    worse = False
    for comparison in compare_results(load_rows(before), load_rows(after)):
        door.out.print(str(comparison.environment), markup=False)
        for title, contrasts in by_question(comparison.contrasts).items():
            worse = worse or any(one.verdict is Verdict.WORSE for one in contrasts)
            door.out.print(f"\n{title}, B beside A", markup=False)
            door.out.print(terminal(verdicts(contrasts, BESIDE_BEFORE)))
        for note in comparison.notes:
            door.out.print(f"note: {note}", markup=False)
    if worse:
        raise typer.Exit(1)


if __name__ == "__main__":
    door.run(compare)
