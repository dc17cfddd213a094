"""Tables, once as text cells: drawn by rich on a terminal, as Markdown in a document."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from bench.results import NONE, STOCK
from bench.statistics import LEAST_ROUNDS, Contrast, Verdict

# Decimal units, as storage and networks are sold.
_SCALES = {
    "s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1, "B")),
}
_WORDS = {
    "s": {Verdict.BETTER: "faster", Verdict.WORSE: "slower"},
    "B": {Verdict.BETTER: "smaller", Verdict.WORSE: "larger"},
    "1": {Verdict.BETTER: "fewer", Verdict.WORSE: "more"},
}
_SIGNS = {Verdict.BETTER: "▲", Verdict.WORSE: "▼", Verdict.SAME: "", Verdict.NONE: "?"}
MARKS = "▲ better and ▼ worse beyond the noise floor, ? no verdict for want of rounds"


@dataclass(frozen=True)
class Grid:
    """Cells of text under a header; the first `labels` columns are read, the others compared."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """Significant digits and the unit that keeps the value between 1 and 1000: 29.1 ms."""
    if unit not in _SCALES:
        return _digits(value, digits)
    scales = _SCALES[unit]
    scale, name = next((one for one in scales if abs(value) >= one[0] * 0.9995), scales[-1])
    return f"{_digits(value / scale, digits)} {name}"


def _digits(value: float, digits: int = 3) -> str:
    """So many significant digits, never an exponent."""
    rounded = float(f"{value:.{digits}g}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:.{max(0, decimals)}f}"


def gain(contrast: Contrast) -> str:
    """How many times better: base / value, with its interval. Less than 1 is worse."""
    return _interval(contrast, 1 / contrast.ratio, 1 / contrast.high, 1 / contrast.low)


def times(contrast: Contrast) -> str:
    """How many times the base the value is, with its interval: the other way round of `gain`."""
    return _interval(contrast, contrast.ratio, contrast.low, contrast.high)


def _interval(contrast: Contrast, mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "-"
    if contrast.verdict is Verdict.NONE:
        return f"{_digits(mean)}x"
    return f"{_digits(mean)}x [{_digits(low)}, {_digits(high)}]"


def noise(contrast: Contrast) -> str:
    """How far a ratio may be from 1 without a cause."""
    return "-" if contrast.verdict is Verdict.NONE else f"{contrast.noise * 100:.1f} %"


def verdict(contrast: Contrast) -> str:
    if contrast.verdict is Verdict.NONE and contrast.rounds < LEAST_ROUNDS:
        return f"{contrast.rounds} of {LEAST_ROUNDS} rounds"
    return _WORDS[contrast.unit].get(contrast.verdict, contrast.verdict.value)


def by_question(contrasts: Sequence[Contrast]) -> dict[str, list[Contrast]]:
    """Contrasts by what was measured: "save, local: time"."""
    groups: dict[str, list[Contrast]] = {}
    for one in contrasts:
        where = "" if one.cell.store == NONE else f", {one.cell.store}"
        what = one.cell.metric.replace("_", " ")
        groups.setdefault(f"{one.cell.workload}{where}: {what}", []).append(one)
    return groups


BESIDE_STOCK = (STOCK, "arm's", "gain")
# Medians as measured; the gain is that of the ratios to the stocks.
BESIDE_BEFORE = ("A", "B", "gain")


def verdicts(contrasts: Sequence[Contrast], titles: tuple[str, str, str] = BESIDE_STOCK) -> Grid:
    """A line for each contrast, in words: for a terminal."""
    return Grid(
        ("payload", "arm", *titles, "noise", "verdict"),
        tuple(
            (
                *(one.cell.payload, one.arm),
                *(quantity(one.base, one.unit), quantity(one.value, one.unit)),
                *(gain(one), noise(one), verdict(one)),
            )
            for one in contrasts
        ),
        labels=2,
    )


def beside_stock(contrasts: Sequence[Contrast]) -> Grid:
    """A line for each payload, and a column for each arm: for a document.

    Where contrasts are of several workloads, a line names its own too.
    """
    several = len({one.cell.workload for one in contrasts}) > 1
    arms = tuple(dict.fromkeys(one.arm for one in contrasts))
    lines: dict[str, dict[str, Contrast]] = {}
    for one in contrasts:
        name = f"{one.cell.workload}, {one.cell.payload}" if several else one.cell.payload
        lines.setdefault(name, {})[one.arm] = one
    rows = []
    for name, by_arm in lines.items():
        first = next(iter(by_arm.values()))
        cells = [marked(by_arm[arm]) if arm in by_arm else "" for arm in arms]
        noises = dict.fromkeys(map(noise, by_arm.values()))
        size = quantity(first.size, "B") if first.size else "-"
        rows.append((name, size, quantity(first.base, first.unit), *cells, " / ".join(noises)))
    return Grid(("", "pickled", STOCK, *arms, "noise"), tuple(rows))


def marked(contrast: Contrast) -> str:
    """The gain with its verdict as a sign, see `MARKS`."""
    return f"{_SIGNS[contrast.verdict]} {gain(contrast)}".lstrip()


def markdown(grid: Grid) -> str:
    """A table of GitHub's Markdown, without a trailing line end."""
    marks = ["---"] * grid.labels + ["---:"] * (len(grid.header) - grid.labels)
    lines = [grid.header, marks, *grid.rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def folded(title: str, content: str) -> str:
    """What a document shows when its title is clicked on."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def terminal(grid: Grid) -> Table:
    """A table for rich."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for number, title in enumerate(grid.header):
        table.add_column(title, justify="left" if number < grid.labels else "right")
    for cells in grid.rows:
        table.add_row(*cells)
    return table
