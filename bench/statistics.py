"""What a set of rows proves, and what it does not.

The argument:

1. **One observation is one process.** Repetitions inside a process share its memory layout and
   its luck; they only sharpen its median and say nothing about the next process.
2. **A ratio is taken inside a round.** A round runs every arm, one after the other, and the next
   round runs them backwards (A B C, C B A). What changes from round to round concerns all arms of a
   round alike. What drifts within rounds adds to one ratio what it takes from the next: it cancels
   in their mean, and widens the interval. The logarithm of the ratio is one number for each round;
   a round in which one of the two is missing is left out.
3. **Whole rounds are resampled.** What disturbs one observation disturbs its neighbors, so rounds
   are exchangeable and observations are not. The interval of the geometric mean ratio is the
   percentile bootstrap (9,999 resamples, fixed seed), *expanded* for few rounds: a percentile
   interval of n values is too narrow by sqrt((n - 1) / n) and by the normal instead of Student's
   quantile (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 4.3).
4. **Fewer than `LEAST_ROUNDS` rounds prove nothing at 95 %.** No resample lies outside the extreme
   rounds, and n rounds lie all on one side of the truth with probability 2 ** (1 - n): 6 % for 5.
5. **A verdict needs the whole interval beyond the noise floor**: the farther end of the A/A
   interval (`stock-again` against `stock`, in the same rounds), or `LEAST_NOISE` if that is
   larger. An arm that does nothing is then called faster or slower in at most 5 % of cases,
   whatever the number of rounds, unless something disturbs the machine in step with them.
6. **Result files are compared through their stocks**: they were measured at different times, so an
   arm's ratio to its own stock is compared, and what slows a whole session cancels out. What
   changes between sessions and concerns one arm alone does not: measure again before believing.

Rows of different machines, processors, Pythons or releases (`Environment`) never meet, nor do rows
of different benchmark code, patches or libraries (`Build`) of one arm.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from statistics import median
from typing import Any

import numpy as np
from scipy import stats

from bench.errors import BenchError
from bench.results import AGAIN, FLOOR, STOCK, Row

CONFIDENCE = 0.95
RESAMPLES = 9_999
SEED = 20240607
LEAST_ROUNDS = 6
# Where code and environment land in memory alone moves times by a percent or two (Mytkowicz et
# al., "Producing Wrong Data Without Doing Anything Obviously Wrong!", 2009), and allocators round
# memory up. Stored bytes are exact, but nobody pays for a thousandth of them.
LEAST_NOISE = {"time": 0.02, "peak_memory": 0.02, "stored": 0.001, "requests": 0.001}


class Verdict(Enum):
    BETTER = "better"
    SAME = "no difference"
    WORSE = "worse"
    NONE = "no verdict"


@dataclass(frozen=True, order=True)
class Environment:
    """What must be the same for figures to be seen side by side."""

    machine: str
    processor: str
    python: str
    release: str

    def __str__(self) -> str:
        return f"{self.processor} ({self.machine}), Python {self.python}, Metaflow {self.release}"


@dataclass(frozen=True, order=True)
class Build:
    """What was measured by what: rows of two builds of one arm are not pooled."""

    bench: str
    series: str
    libraries: str

    def __str__(self) -> str:
        return f"benchmark {self.bench}, series {self.series}, {self.libraries}"


@dataclass(frozen=True, order=True)
class Cell:
    """One question: what is measured of which payload in which store."""

    workload: str
    payload: str
    store: str
    metric: str


@dataclass(frozen=True)
class Contrast:
    """One answer: an arm beside stock, or beside itself in another result file.

    Of `ratio`, with its interval from `low` to `high`, less than 1 is better. `noise` is how far
    from 1 it may be without a cause: 0.02 says from 1 / 1.02 to 1.02. `base` and `value` are the
    medians of all observations, in `unit`; `size` is the payload's, in bytes. Without a verdict,
    interval and noise are nan.
    """

    cell: Cell
    size: int
    arm: str
    unit: str
    base: float
    value: float
    rounds: int
    ratio: float
    low: float
    high: float
    noise: float
    verdict: Verdict


@dataclass(frozen=True)
class Selection:
    """Rows that may be seen together, and a line for each group of rows that may not."""

    environment: Environment
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]


def environment(row: Row) -> Environment:
    return Environment(row.machine, row.processor, row.python, row.release)


def build(row: Row) -> Build:
    return Build(row.bench, row.series, row.libraries)


def measured(row: Row) -> tuple[str, str, str, str]:
    """By whom and of what: rows that agree in it are of one build, or are kept apart."""
    return row.workload, row.payload, row.store, row.arm


def select_newest(rows: Sequence[Row]) -> Selection:
    """The rows of the newest release, from the environment that measured most of it.

    Of several, the newest: a sweep adds a few rows of each of many environments, which must not
    take the place of a whole benchmark. Raises BenchError if there are no rows at all.
    """
    if not rows:
        raise BenchError("the result file holds no rows: run make bench")
    release = max(rows, key=attrgetter("time")).release
    widths: dict[Environment, tuple[int, str]] = {}
    current = [row for row in rows if row.release == release]
    for where in {environment(row) for row in current}:
        here = [row for row in current if environment(row) == where]
        widths[where] = len(set(map(measured, here))), max(row.time for row in here)
    return select(rows, max(widths, key=lambda one: widths[one]))


def select(rows: Sequence[Row], chosen: Environment) -> Selection:
    """The rows of an environment: the newest build of each arm, wherever it was measured."""
    here = [row for row in rows if environment(row) == chosen]
    # The benchmark's own code first: it is one for all arms. What has to be asked for is often
    # older than the rest.
    code = {
        (row.workload, row.payload, row.store): row.bench
        for row in sorted(here, key=attrgetter("time"))
    }
    builds = {
        measured(row): build(row)
        for row in sorted(here, key=attrgetter("time"))
        if row.bench == code[row.workload, row.payload, row.store]
    }
    kept, left_out = [], Counter[str]()
    for row in rows:
        if environment(row) != chosen:
            left_out[str(environment(row))] += 1
        elif build(row) != builds.get(measured(row)):
            left_out[f"{row.workload}, with an older benchmark, series or library"] += 1
        else:
            kept.append(row)
    lines = tuple(f"{count} rows: {what}" for what, count in sorted(left_out.items()))
    return Selection(chosen, tuple(kept), lines)


@dataclass(frozen=True)
class Sample:
    """Observations of one arm in one cell, by session and round."""

    unit: str
    size: int
    rounds: dict[tuple[str, int], list[float]]

    @property
    def median(self) -> float:
        return median(value for values in self.rounds.values() for value in values)


def samples(rows: Sequence[Row]) -> dict[Cell, dict[str, Sample]]:
    """What each arm measured in each cell, in the order of the rows.

    Left out: metrics that only describe, and arms with a value that is not positive, so that a
    ratio means nothing.
    """
    found: dict[Cell, dict[str, Sample]] = {}
    for row in rows:
        if row.metric in LEAST_NOISE:
            cell = Cell(row.workload, row.payload, row.store, row.metric)
            sample = found.setdefault(cell, {}).setdefault(row.arm, Sample(row.unit, row.bytes, {}))
            sample.rounds.setdefault((row.session, row.round), []).append(row.value)
    return {
        cell: {name: arm for name, arm in arms.items() if min(map(min, arm.rounds.values())) > 0}
        for cell, arms in found.items()
    }


def compare_arms(rows: Sequence[Row]) -> list[Contrast]:
    """Every arm beside stock, in every cell that both measured, in the order of the rows.

    `rows` come from one `Selection`.
    """
    return [
        _contrast(cell, arm, arms[STOCK].median, [arms])
        for cell, arms in samples(rows).items()
        for arm in _contenders(arms)
    ]


def compare_with(rows: Sequence[Row], base: str) -> list[Contrast]:
    """Every arm but `base` beside it, in every cell that both measured; noise is that of stock.

    `rows` come from one `Selection`.
    """
    return [
        _contrast(cell, arm, arms[base].median, [arms], base)
        for cell, arms in samples(rows).items()
        for arm in arms
        if base in arms and arm != base
    ]


def compare_files(before: Sequence[Row], after: Sequence[Row]) -> list[Contrast]:
    """Every arm's ratio to its stock in `after`, beside its ratio in `before`.

    Both come from a `Selection` of the same environment. What only one of them measured is left
    out.
    """
    old, new = samples(before), samples(after)
    return [
        _contrast(cell, arm, old[cell][arm].median, [new[cell], old[cell]])
        for cell in new
        if cell in old
        for arm in _contenders(new[cell])
        if arm in _contenders(old[cell])
    ]


def interval(logs: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % bootstrap interval of the first list's mean less the means of the others.

    Each needs `LEAST_ROUNDS` values, one for a round.
    """
    rounds = min(map(len, logs))
    quantile = stats.t.ppf((1 - CONFIDENCE) / 2, rounds - 1)
    tail = stats.norm.cdf(math.sqrt(rounds / (rounds - 1)) * quantile)
    found = stats.bootstrap(
        logs,
        _mean_difference,
        n_resamples=RESAMPLES,
        confidence_level=1 - 2 * tail,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _mean_difference(first: Any, *others: Any, axis: int = -1) -> Any:
    return np.mean(first, axis=axis) - sum(np.mean(other, axis=axis) for other in others)


def _contenders(arms: Mapping[str, Sample]) -> list[str]:
    return [arm for arm in arms if STOCK in arms and arm not in (STOCK, AGAIN, FLOOR)]


def _contrast(
    cell: Cell,
    arm: str,
    base: float,
    measured: Sequence[Mapping[str, Sample]],
    beside: str = STOCK,
) -> Contrast:
    """`arm` beside stock in the first of `measured`, less the same in the others."""
    logs = [_log_ratios(arms, arm, beside=beside) for arms in measured]
    again = [_log_ratios(arms, AGAIN, arms[arm].rounds) for arms in measured]
    ratio = math.exp(_mean_difference(*logs)) if all(logs) else math.nan
    enough = all(len(sample) >= LEAST_ROUNDS for sample in (*logs, *again))
    low = high = noise = math.nan
    if enough:
        low, high = (math.exp(end) for end in interval(logs))
        ends = [abs(end) for sample in again for end in interval([sample])]
        noise = max(LEAST_NOISE[cell.metric], math.expm1(max(ends)))
    return Contrast(
        cell=cell,
        size=measured[0][arm].size,
        arm=arm,
        unit=measured[0][arm].unit,
        base=base,
        value=measured[0][arm].median,
        rounds=min(map(len, logs)),
        ratio=ratio,
        low=low,
        high=high,
        noise=noise,
        verdict=_verdict(low, high, noise),
    )


def _verdict(low: float, high: float, noise: float) -> Verdict:
    if math.isnan(noise):
        return Verdict.NONE
    if high < 1 / (1 + noise):
        return Verdict.BETTER
    return Verdict.WORSE if low > 1 + noise else Verdict.SAME


def _log_ratios(
    arms: Mapping[str, Sample],
    arm: str,
    within: Collection[tuple[str, int]] | None = None,
    beside: str = STOCK,
) -> list[float]:
    """ln(arm / beside) of each round, of those in `within`, that has both equally often."""
    if arm not in arms or beside not in arms:
        return []
    base = arms[beside].rounds
    return [
        float(np.mean(np.log(values)) - np.mean(np.log(base[key])))
        for key, values in arms[arm].rounds.items()
        if len(base.get(key, ())) == len(values) and (within is None or key in within)
    ]
