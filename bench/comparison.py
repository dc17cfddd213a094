"""Two result files beside each other: what may be compared is, what may not is named."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import BenchError
from bench.results import Row
from bench.statistics import Contrast, Environment, build, compare_files, environment, select


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
    builds = {(row.workload, row.arm): build(row) for row in old.rows}
    foreign = set()
    for (workload, arm), now in {(row.workload, row.arm): build(row) for row in new.rows}.items():
        then = builds.get((workload, arm), now)
        if then.bench != now.bench:
            foreign.add(workload)
        elif then != now:
            notes.append(f"{workload} by {arm}: {then} -> {now}")
    notes += [
        f"{workload}: not compared, its benchmark code differs" for workload in sorted(foreign)
    ]
    rows = [[row for row in one.rows if row.workload not in foreign] for one in (old, new)]
    return Comparison(chosen, compare_files(*rows), notes)
