"""Two result files beside each other: what may be compared is, what may not is named."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import BenchError
from bench.results import Row
from bench.statistics import (
    Contrast,
    Environment,
    build,
    compare_files,
    environment,
    measured,
    select,
)


@dataclass(frozen=True)
class Comparison:
    """What both files measured in one environment, and a line for all that differs otherwise."""

    environment: Environment
    contrasts: list[Contrast]
    notes: list[str]


def compare_results(before: Sequence[Row], after: Sequence[Row]) -> list[Comparison]:
    """Compare the arms of two result files, environment by environment.

    Rows of `before` that `after` holds too, because it was added to, count for `before` only.
    Raises BenchError if the files have nothing to compare.
    """
    known = set(before)
    after = [row for row in after if row not in known] or after
    old, new = (sorted({environment(row) for row in rows}) for rows in (before, after))
    common = [one for one in new if one in old]
    if not common:
        raise BenchError(
            f"nothing to compare: {_list(old)} in the first file, {_list(new)} in the second: "
            "measure both in one environment"
        )
    comparisons = [_compare(before, after, one) for one in common]
    if not any(one.contrasts for one in comparisons):
        raise BenchError(
            f"nothing to compare: {'; '.join(comparisons[0].notes) or 'no arm in both'}"
        )
    return comparisons


def _list(environments: Sequence[Environment]) -> str:
    return " and ".join(map(str, environments)) or "no rows"


def _compare(before: Sequence[Row], after: Sequence[Row], chosen: Environment) -> Comparison:
    old, new = (select(rows, chosen) for rows in (before, after))
    notes = [f"left out of the first file, {line}" for line in old.left_out]
    notes += [f"left out of the second file, {line}" for line in new.left_out]
    foreign, changes = _differences(old.rows, new.rows)
    notes += changes
    notes += [f"not compared, its benchmark code differs: {workload}" for workload in foreign]
    rows = [[row for row in one.rows if row.workload not in foreign] for one in (old, new)]
    return Comparison(chosen, compare_files(*rows), notes)


def _differences(before: Sequence[Row], after: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Workloads of other benchmark code, and a line for each arm of other patches or libraries."""
    builds = {measured(row): build(row) for row in before}
    foreign: set[str] = set()
    changes: dict[str, None] = {}  # a set in order
    for row in after:
        then, now = builds.get(measured(row), build(row)), build(row)
        if then.bench != now.bench:
            foreign.add(row.workload)
        elif then != now:
            changes[f"{row.workload} by {row.arm}: {then} -> {now}"] = None
    return sorted(foreign), list(changes)
