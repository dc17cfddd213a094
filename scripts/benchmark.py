#!/usr/bin/env python3
"""Door: measure stock against patched."""

from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

import door
from bench.arms import ARMS, STOCK
from bench.runner import BenchError, Saves, run_rounds, store_root
from patchstack.apply import apply_series, branch_commit
from patchstack.errors import PatchStackError
from patchstack.series import load_series
from patchstack.source import pinned_source, source_tree


def benchmark(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of every arm, forth and back.")] = 3,
) -> None:
    """Apply the series, then time saving the five payloads of the study, stock and patched.

    Each arm runs in its own process from its own source tree, with its own packages. The
    last column is this machine's noise: how much stock differs from itself, measured in the
    same rounds. A ratio that is not clearly beyond it says nothing.
    """
    project = door.project()
    series = load_series(project)
    source = pinned_source(project, series.pin)
    apply_series(project, series, source)
    topics = {topic.name for topic in series.topics}
    arms = tuple(arm for arm in ARMS if arm.topic is None or arm.topic in topics)
    commits = {False: source.base, True: branch_commit(series, source, None)}
    trees = {arm.name: source_tree(project, source, commits[arm.patched]) for arm in arms}
    with Progress(console=door.progress, transient=True) as bar:
        task = bar.add_task("", total=2 * rounds * len(arms))
        try:
            results = run_rounds(
                arms, trees, rounds, lambda arm: bar.update(task, advance=1, description=arm.name)
            )
        except BenchError as error:
            raise PatchStackError(str(error)) from None
    where = store_root()
    door.out.print(f"save to a new local store under {where}, median of {2 * rounds} processes")
    door.out.print(_table(results, [arm.name for arm in arms if arm is not STOCK]))


def _table(results: dict[str, dict[str, Saves]], others: list[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("payload", no_wrap=True)
    for title in ("stock", *(head for arm in others for head in (arm, "ratio")), "noise"):
        table.add_column(title, justify="right", no_wrap=True)
    for payload, by_arm in results.items():
        stock = by_arm[STOCK.name]
        cells = [payload, f"{stock.seconds * 1e3:.2f} ms"]
        for arm in others:
            seconds = by_arm[arm].seconds
            cells += [f"{seconds * 1e3:.2f} ms", f"{stock.seconds / seconds:.2f}x"]
        table.add_row(*cells, f"{stock.halves_ratio:.2f}x")
    return table


if __name__ == "__main__":
    door.run(benchmark)
