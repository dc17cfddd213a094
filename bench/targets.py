"""data/targets.tsv: what each topic is to reach; here it is held against what was measured.

One line for each target: the fields of `Target`, in order. Judged by the mean ratio, and the 95 %
interval beside it says how sure that is. A payload `*` stands for every payload that the arm
measured of that workload, store and metric, and the worst decides. A target of `1` times stock asks
for no gain: it is missed where the arm is worse beyond the noise floor.

The limit is arm `floor` in the same rounds, as a ratio to stock: what is left when the work is done
by the simplest Python (bench/workers says how, for each family). It is one of time alone: the floor
compresses nothing. A target above it is said to be beyond the limit. It is a yardstick and no
proof: the simplest Python is not the fastest where a patch spares a copy or uses memory again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from statistics import median

from bench.errors import BenchError
from bench.records import load_records
from bench.results import FLOOR, NONE, STOCK, Row
from bench.statistics import LEAST_ROUNDS, Cell, Contrast, Verdict, compare_with
from bench.tables import Grid, gain, markdown, marked, times

TARGETS = Path("data", "targets.tsv")
REMEDY = "restore it"
ANY = "*"
# Figures of a topic on the front page: status.md has them all.
MOST_SHOWN = 3


class Base(Enum):
    """What a target's number is a multiple of."""

    STOCK = "stock"  # times better than stock, at least
    FLOOR = "floor"  # times the floor, at most
    OBJECT = "object"  # of the pickled size, at most
    EXTRA = "extra"  # bytes above stock's, at most


@dataclass(frozen=True)
class Target:
    """One number to reach; the columns from `arm` to `metric` are those of data/results.tsv."""

    topic: str
    arm: str
    workload: str
    payload: str
    store: str
    metric: str
    base: Base
    number: float

    def __str__(self) -> str:
        where = "" if self.store == NONE else f", {self.store}"
        what = "all payloads" if self.payload == ANY else self.payload
        return f"{self.workload} {what}{where}: {self.metric.replace('_', ' ')}"

    @property
    def asks_no_gain(self) -> bool:
        return self.base is Base.STOCK and self.number == 1

    @property
    def wanted(self) -> str:
        if self.asks_no_gain:
            return "not worse"
        if self.base is Base.STOCK:
            return f"{self.number:.3g}x"
        if self.base is Base.FLOOR:
            return f"{self.number:.3g}x the floor or less"
        if self.base is Base.OBJECT:
            return f"{self.number:.0%} of the object or less"
        return f"at most {self.number:.0f} B more"


class Outcome(Enum):
    REACHED = "reached"
    MISSED = "not reached"
    BEYOND = "not reached and beyond the limit"
    NONE = "not measured"


@dataclass(frozen=True)
class Judgment:
    """A target, what was measured of it, and the limit, in words."""

    target: Target
    measured: str
    limit: str
    outcome: Outcome


# Contrasts of each base, by cell and arm.
Contrasts = Mapping[str, Mapping[tuple[Cell, str], Contrast]]


def load_targets(path: Path) -> list[Target]:
    """Raises BenchError for a file that is missing or foreign, and for numbers without a sense."""
    targets = load_records(path, Target, REMEDY)
    for target in targets:
        if not target.number > 0:
            raise BenchError(f"{path}: {target}: {target.number} is no number to reach: {REMEDY}")
    return targets


def judge_targets(targets: Sequence[Target], rows: Sequence[Row]) -> list[Judgment]:
    """Hold each target against `rows`, which come from one `Selection`."""
    contrasts = {
        base: {(one.cell, one.arm): one for one in compare_with(rows, base)}
        for base in (STOCK, FLOOR)
    }
    return [_judge(target, rows, contrasts) for target in targets]


def targets_block(judgments: Sequence[Judgment]) -> str:
    """status.md: how many targets have which verdict, and each of them."""
    return f"{_counted(judgments)}.\n\n{markdown(target_grid(judgments))}"


def remaining_block(judgments: Sequence[Judgment]) -> str:
    """README.md: how many targets have which verdict; status.md has each of them."""
    return f"{_counted(judgments)}: [each of them](status.md#targets)."


def _counted(judgments: Sequence[Judgment]) -> str:
    counts = Counter(one.outcome for one in judgments)
    found = [f"{counts[one]} {one.value}" for one in Outcome if counts[one]]
    return f"Of {len(judgments)} targets, {', '.join(found)}"


def topics_block(titles: Mapping[str, str], judgments: Sequence[Judgment]) -> str:
    """README.md: a line for each topic, by name, with what its first targets came to."""
    lines = []
    for topic, title in titles.items():
        own = [one for one in judgments if topic in one.target.topic.split(", ")]
        gains = [
            f"{one.target.workload} {one.target.payload} {one.measured}"
            for one in own
            if one.measured
            and (one.target.base, one.target.metric) == (Base.STOCK, "time")
            and one.target.payload != ANY
        ]
        reached = sum(one.outcome is Outcome.REACHED for one in own)
        counts = f"{reached} of {len(own)}" if own else ""
        link = f"[{topic}](patches/{topic}/pr.md)"
        lines.append((link, title, "; ".join(gains[:MOST_SHOWN]), counts))
    header = ("topic", "what it does", "times faster than stock", "targets reached")
    return markdown(Grid(header, tuple(lines), labels=3))


def target_grid(judgments: Sequence[Judgment]) -> Grid:
    return Grid(
        ("topic", "arm", "what", "target", "measured", "limit", "verdict"),
        tuple(
            (
                *(one.target.topic, one.target.arm, str(one.target)),
                *(one.target.wanted, one.measured, one.limit, one.outcome.value),
            )
            for one in judgments
        ),
        labels=3,
    )


def _judge(target: Target, rows: Sequence[Row], contrasts: Contrasts) -> Judgment:
    if target.base in (Base.OBJECT, Base.EXTRA):
        return _judge_bytes(target, rows)
    found = [
        one
        for (cell, arm), one in contrasts[target.base.value].items()
        if arm == target.arm and _asks(target, cell) and one.rounds
    ]
    if not found:
        return Judgment(target, "", "", Outcome.NONE)
    # A verdict first: where no gain is asked for, a large ratio may be noise.
    worst = max(found, key=lambda one: (target.asks_no_gain and _is_worse(one), one.ratio))
    limit = None
    if target.base is Base.STOCK and target.metric == "time":  # it trades bytes for none of it
        limit = contrasts[STOCK].get((worst.cell, FLOOR))
    name = f" ({worst.cell.payload})" if target.payload == ANY else ""
    return Judgment(
        target,
        (marked(worst) if target.base is Base.STOCK else times(worst)) + name + _rounds(worst),
        gain(limit) if limit else "",
        _outcome(target, worst, limit),
    )


def _asks(target: Target, cell: Cell) -> bool:
    asked = (target.workload, target.store, target.metric)
    return (cell.workload, cell.store, cell.metric) == asked and target.payload in (
        ANY,
        cell.payload,
    )


def _is_worse(contrast: Contrast) -> bool:
    return contrast.verdict is Verdict.WORSE


def _rounds(contrast: Contrast) -> str:
    enough = contrast.rounds >= LEAST_ROUNDS
    return "" if enough else f", {contrast.rounds} of {LEAST_ROUNDS} rounds"


def _outcome(target: Target, worst: Contrast, limit: Contrast | None) -> Outcome:
    if worst.verdict is Verdict.NONE:
        return Outcome.NONE
    if target.base is Base.FLOOR:
        return Outcome.REACHED if worst.ratio <= target.number else Outcome.MISSED
    if target.asks_no_gain:
        return Outcome.MISSED if _is_worse(worst) else Outcome.REACHED
    if 1 / worst.ratio >= target.number:
        return Outcome.REACHED
    beyond = limit and limit.verdict is not Verdict.NONE and 1 / limit.ratio < target.number
    return Outcome.BEYOND if beyond else Outcome.MISSED


def _judge_bytes(target: Target, rows: Sequence[Row]) -> Judgment:
    """Bytes are nearly the same in every process: the median is judged, and no ratio is needed."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        cell = Cell(row.workload, row.payload, row.store, row.metric)
        if _asks(target, cell):
            found.setdefault(row.arm, []).append(row)
    own, stock = found.get(target.arm, []), found.get(STOCK, [])
    if len(own) < LEAST_ROUNDS or len(stock) < LEAST_ROUNDS:
        return Judgment(target, f"{len(own)} rounds" if own else "", "", Outcome.NONE)
    value, size = median(row.value for row in own), own[0].bytes
    if target.base is Base.OBJECT:
        number, measured = value / size, f"{value / size:.1%}"
    else:
        number = value - median(row.value for row in stock)
        measured = f"{number:+.0f} B"
    reached = number <= target.number
    return Judgment(target, measured, "", Outcome.REACHED if reached else Outcome.MISSED)
