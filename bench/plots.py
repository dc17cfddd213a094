"""The plots, as SVG: the same bytes from the same rows.

The background is transparent and every color is of middle lightness, so that one file is legible
on a white page and on a dark one. Text is drawn as outlines: it looks alike wherever it is shown.
"""

import io
import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from bench.arms import SINGLE
from bench.import_times import Box, Import, boxes
from bench.results import AGAIN, FLOOR, JOIN, NONE, PEER_WORKLOADS, STOCK, SWEEP_PREFIX, Row
from bench.statistics import Cell, Contrast, Environment, Sample, Verdict, samples
from bench.tables import quantity

# At least 3:1 against white and against #0d1117: the contrast that WCAG 2 wants of graphics.
INK = "#768390"
COLORS = (
    *("#3b82d6", "#d9730d", "#2f9e44", "#9a6dd7"),
    *("#e0484d", "#1098ad", "#d6498f", "#a3752c"),
)
MARKERS = "osD^vPX*"
# Text within a box is on its color, whatever the page is.
ON_COLOR = "#0d1117"
OWNERS = dict(
    zip(
        ("Metaflow", "vendored by Metaflow", "standard library", "installed packages"),
        ("#6ea8e8", "#b79be6", "#e2a15c", "#7cc58d"),
        strict=True,
    )
)
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.alpha": 0.3,
    "grid.color": INK,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "metaflow-perf",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
WIDTH = 9.0  # inches

# The workloads whose payloads are compared, and the store that is memory.
CODEC = ("pack", "save", "load")
MEMORY = "tmpfs"
# From a slow uplink to a fast cluster network, in bytes a second.
SLOWEST, FASTEST = 10e6, 10e9
# Smaller objects are a matter of latency, not of bandwidth.
LEAST_TRANSFER = 200_000
# Arms whose stored bytes differ by less use one codec: their lines cross by noise alone.
LEAST_SAVING = 0.005

Samples = Mapping[Cell, Mapping[str, Sample]]
Style = Mapping[str, Any]
Styles = Mapping[str, Style]
# Contrasts and the labels of their lanes, by the title of their panel.
GainPanels = dict[str, list[tuple[str, Contrast]]]


# What is drawn, by file name, and what each one shows.
PLOTS = {
    "gains.svg": "Times faster than stock by payload, with 95 % intervals and the noise floor",
    "throughput.svg": "Throughput of save and load against the size of a float64 array",
    "trade.svg": "How much faster, and how much larger or smaller stored, for each payload",
    "bandwidth.svg": "Time to store against bandwidth, and where an arm meets stock",
    "join.svg": "Processor time of the scheduler against the number of splits of a foreach",
}
# Of these, what is shown where its topic is, in status.md.
JOIN_PLOT = "join.svg"
IMPORTS_PLOT = "imports.svg"
# Modules of the chart of imports that are too short to be seen.
LEAST_SEEN = 0.0002  # seconds
# How many letters fit into the width of that chart.
LETTERS = 210


def draw_plots(rows: Sequence[Row], contrasts: Sequence[Contrast]) -> dict[str, bytes]:
    """Those of `PLOTS` for which the rows of a `Selection` have figures, as SVG.

    `contrasts` are those of `rows` (`compare_arms`): to find them takes long. Arms of a single
    question are drawn where that is the plot's.
    """
    rows = [row for row in rows if row.arm not in SINGLE or row.workload == JOIN]
    contrasts = [
        one
        for one in contrasts
        if one.arm not in SINGLE and one.cell.workload not in PEER_WORKLOADS
    ]
    found = samples(rows)
    # Those of the payloads first: how they look does not depend on what else was measured.
    styles = _styles(row.arm for own in (CODEC, (JOIN,)) for row in rows if row.workload in own)
    with _own_style():
        figures = (
            _gains(contrasts, styles),
            _throughput(found, styles),
            _trade(contrasts, styles),
            _bandwidth(found, styles),
            _join(found, styles),
        )
        return {name: _svg(figure) for name, figure in zip(PLOTS, figures, strict=True) if figure}


def draw_imports(imports: Sequence[Import]) -> bytes:
    """An icicle chart of what `import metaflow` loads in each arm, as SVG."""
    charts = {
        arm: [box for box in boxes(list(members)) if box.seconds >= LEAST_SEEN]
        for arm, members in itertools.groupby(imports, key=attrgetter("arm"))
    }
    with _own_style():
        return _svg(_imports(charts))


def _imports(charts: Mapping[str, Sequence[Box]]) -> Figure:
    every = [box for chart in charts.values() for box in chart]
    depth, longest = 1 + max(box.depth for box in every), max(box.seconds for box in every)
    figure, axes = _panels(len(charts), 1, 0.3 + 0.11 * depth, sharex=True)
    for panel, (arm, chart) in zip(axes, charts.items(), strict=True):
        panel.set_title(f"{arm}: {quantity(chart[-1].seconds, 's')}")
        for box in chart:
            color = OWNERS[_owner(box.module)]
            panel.barh(box.depth, box.seconds, 0.9, left=box.start, color=color)
            name = _short(box.module, int(LETTERS * box.seconds / longest))
            place = box.start + box.seconds / 2, box.depth
            panel.annotate(name, place, ha="center", va="center", size=5, color=ON_COLOR)
        panel.set_ylim(depth - 0.5, -0.5)
        panel.set_yticks([])
        panel.spines["left"].set_visible(False)
        panel.xaxis.set_major_formatter(lambda seconds, _: f"{1000 * seconds:g} ms")
        panel.label_outer()
    _caption(figure, "time of the import; what a module imports stands below it")
    handles = [Patch(color=color, label=owner) for owner, color in OWNERS.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(OWNERS))
    return figure


def _owner(module: str) -> str:
    if module.startswith("metaflow._vendor"):
        return "vendored by Metaflow"
    package = module.partition(".")[0]
    if package == "metaflow":
        return "Metaflow"
    return "standard library" if package in sys.stdlib_module_names else "installed packages"


def _short(module: str, room: int) -> str:
    """A module's name, or its last part, or nothing, by how many letters there is room for."""
    last = module.rpartition(".")[2]
    return next((name for name in (module, last) if len(name) <= room), "")


@contextmanager
def _own_style() -> Iterator[None]:
    """`STYLE`, and not the user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _styles(names: Iterable[str]) -> Styles:
    """How an arm is drawn, the same in every plot."""
    arms = dict.fromkeys(names)
    looks = itertools.cycle(zip(COLORS, MARKERS, strict=True))
    styles = {
        arm: {"color": color, "marker": marker}
        for arm, (color, marker) in zip(
            (arm for arm in arms if arm not in (STOCK, AGAIN, FLOOR)), looks, strict=False
        )
    }
    styles[STOCK] = {"color": INK, "marker": "o"}
    styles[FLOOR] = {"color": INK, "linestyle": ":"}
    return styles


def _gains(contrasts: Sequence[Contrast], styles: Styles) -> Figure | None:
    """How many times faster each arm is, by payload, with its interval and the noise floor."""
    panels: GainPanels = {}
    for one in contrasts:
        here = one.cell.store in (NONE, MEMORY)  # a server holds too few payloads for a panel
        timed = one.cell.metric == "time" and one.cell.workload in CODEC
        if here and timed and not _sweeps(one.cell):
            panels.setdefault(_title(one.cell), []).append((one.cell.payload, one))
    return _gain_panels(panels, styles) if panels else None


def draw_machines(found: Mapping[Environment, Sequence[Contrast]]) -> bytes | None:
    """How many times faster each arm is on every machine, as SVG; None without a figure.

    A panel for each thing measured, a lane for each machine and Python: they are shown beside each
    other, and each is compared with its own stock.
    """
    panels: GainPanels = {}
    for where, contrasts in found.items():
        for one in (one for one in contrasts if one.cell.metric == "time" and one.rounds):
            title, lane = f"{_title(one.cell)}: {one.cell.payload}", _lane(where)
            panels.setdefault(title, []).append((lane, one))
    if not panels:
        return None
    styles = _styles(one.arm for contrasts in found.values() for one in contrasts)
    with _own_style():
        return _svg(_gain_panels(panels, styles))


def _lane(where: Environment) -> str:
    processor = where.processor.partition(",")[0]
    return f"{processor} {where.machine[:4]}\nPython {where.python}"


def _gain_panels(panels: GainPanels, styles: Styles) -> Figure:
    shown = [one for panel in panels.values() for one in panel]
    payloads = list(dict.fromkeys(label for label, _ in shown))
    arms = list(dict.fromkeys(one.arm for _, one in shown))
    height = 0.7 + len(payloads) * (0.12 + 0.12 * len(arms))
    figure, axes = _panels(len(panels), 3, height, sharex=True)
    for panel, (title, members) in zip(axes, panels.items(), strict=True):
        panel.set_title(title)
        for label, one in members:
            lane = 0.8 * ((arms.index(one.arm) + 0.5) / len(arms) - 0.5)
            place = payloads.index(label) + lane
            _gain(panel, one, place, 0.4 / len(arms), styles[one.arm])
        panel.axvline(1, color=INK, linewidth=0.8)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(lambda gain, _: f"{gain:g}x")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_yticks(range(len(payloads)), payloads)
        panel.set_ylim(len(payloads) - 0.5, -0.5)
        panel.grid(axis="x")
        panel.label_outer()
    _caption(figure, "times faster than stock; filled if beyond the noise floor, which is shaded")
    _legend(figure, styles, arms)
    return figure


def _gain(panel: Axes, one: Contrast, place: float, half: float, style: Style) -> None:
    """One arm of a payload: the noise floor behind its interval; filled if it is beyond that."""
    if one.verdict is not Verdict.NONE:
        lane, noise = [place - half, place + half], (1 / (1 + one.noise), 1 + one.noise)
        panel.fill_betweenx(lane, *noise, color=INK, alpha=0.3, linewidth=0)
        panel.plot([1 / one.high, 1 / one.low], [place, place], color=style["color"])
    proven = one.verdict in (Verdict.BETTER, Verdict.WORSE)
    panel.plot(1 / one.ratio, place, **style, ms=4, fillstyle="full" if proven else "none")


def _throughput(found: Samples, styles: Styles) -> Figure | None:
    """Bytes a second of a save and a load against the size of the payload, and the floor."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for cell, arms in found.items():
        if _sweeps(cell) and cell.metric == "time" and cell.workload in CODEC:
            curves = panels.setdefault(_title(cell), {})
            for arm in (arm for arm in arms if arm != AGAIN):
                point = arms[arm].size, arms[arm].size / arms[arm].median
                curves.setdefault(arm, []).append(point)
    if not panels:
        return None
    figure, axes = _panels(len(panels), 2, height=3.2)
    for panel, (title, curves) in zip(axes, panels.items(), strict=True):
        panel.set_title(title)
        for arm, points in curves.items():
            panel.plot(*zip(*sorted(points), strict=True), **styles[arm], markersize=4)
        panel.loglog()
        _quantities(panel.xaxis, "B")
        _quantities(panel.yaxis, "B", "/s")
        panel.grid()
    _caption(figure, "payload, pickled; floor: pickle alone, to and from one file")
    _legend(figure, styles, (arm for curves in panels.values() for arm in curves))
    return figure


def _trade(contrasts: Sequence[Contrast], styles: Styles) -> Figure | None:
    """Speed against stored size, both beside stock: a point for each payload and arm."""
    gains = {(one.cell, one.arm): 1 / one.ratio for one in contrasts if one.rounds}
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (cell, arm), gain in gains.items():
        stored = gains.get((replace(cell, workload="save", metric="stored"), arm))
        if stored and cell.store == MEMORY and cell.metric == "time" and not _sweeps(cell):
            panels.setdefault(_title(cell), {}).setdefault(arm, []).append((1 / stored, gain))
    if not panels:
        return None
    figure, axes = _panels(len(panels), 2, height=2.6)
    for panel, (title, arms) in zip(axes, panels.items(), strict=True):
        panel.set_title(title)
        for arm, points in arms.items():
            panel.plot(*zip(*points, strict=True), **styles[arm], markersize=4, linestyle="none")
        panel.axhline(1, color=INK, linewidth=0.8)
        panel.axvline(1, color=INK, linewidth=0.8)
        panel.loglog()
        for axis, steps in ((panel.xaxis, (1, 1.2, 1.5, 2)), (panel.yaxis, (1, 2, 5))):
            axis.set_major_locator(LogLocator(subs=steps))
            axis.set_major_formatter(lambda gain, _: f"{gain:g}x")
            axis.set_minor_locator(NullLocator())
        panel.grid()
    _caption(figure, "stored size beside stock's; upwards: times faster; a point for each payload")
    _legend(figure, styles, (arm for arms in panels.values() for arm in arms))
    return figure


@dataclass(frozen=True)
class Transfer:
    """What storing a payload takes: seconds of computing, then bytes to send."""

    seconds: float
    stored: float

    def until(self, bandwidth: Any) -> Any:
        """Seconds until all is stored, at `bandwidth` bytes a second (a number or an array)."""
        return self.seconds + self.stored / bandwidth


def crossing(one: Transfer, other: Transfer) -> float | None:
    """The bandwidth, in bytes a second, at which both take as long; None if one always wins."""
    fewer, longer = other.stored - one.stored, one.seconds - other.seconds
    if abs(fewer) <= LEAST_SAVING * max(one.stored, other.stored) or fewer * longer <= 0:
        return None
    return fewer / longer


def _bandwidth(found: Samples, styles: Styles) -> Figure | None:
    """Time until a payload is in a remote store: its save to memory, and stored / bandwidth."""
    panels = {
        cell.payload: {
            arm: Transfer(sample.median, sizes[arm].median)
            for arm, sample in times.items()
            if arm in sizes and arm not in (AGAIN, FLOOR)
        }
        for cell, times in found.items()
        if (cell.workload, cell.store, cell.metric) == ("save", MEMORY, "time")
        and max((sample.size for sample in times.values()), default=0) >= LEAST_TRANSFER
        and not _sweeps(cell)
        and (sizes := found.get(replace(cell, metric="stored")))
    }
    if not panels:
        return None
    figure, axes = _panels(len(panels), 3, height=2.1)
    for panel, (payload, arms) in zip(axes, panels.items(), strict=True):
        panel.set_title(payload)
        _transfers(panel, arms, styles)
    _caption(figure, "bandwidth to the store; marked where an arm takes as long as stock")
    _legend(figure, styles, (arm for arms in panels.values() for arm in arms))
    return figure


def _transfers(panel: Axes, arms: Mapping[str, Transfer], styles: Styles) -> None:
    bandwidths = np.geomspace(SLOWEST, FASTEST, 60)
    for arm, transfer in arms.items():
        panel.plot(bandwidths, transfer.until(bandwidths), color=styles[arm]["color"])
        cross = crossing(transfer, arms[STOCK]) if STOCK in arms else None
        if cross and SLOWEST < cross < FASTEST:
            at = cross, transfer.until(cross)
            panel.plot(*at, **styles[arm], markersize=5)
            label = quantity(cross, "B") + "/s"
            panel.annotate(label, at, (4, 4), textcoords="offset points", fontsize=8)
    panel.loglog()
    _quantities(panel.xaxis, "B", "/s")
    _quantities(panel.yaxis, "s", steps=(1, 2, 5))
    panel.grid()


def _join(found: Samples, styles: Styles) -> Figure | None:
    """Time to find out that a foreach can be joined, against the number of its splits."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for cell, arms in found.items():
        if cell.workload == JOIN:
            splits = int(cell.payload.split()[0].replace(",", ""))
            for arm in (arm for arm in arms if arm != AGAIN):
                curves.setdefault(arm, []).append((splits, arms[arm].median))
    if not curves:
        return None
    figure, (panel,) = _panels(1, 1, height=3.2)
    for arm, points in curves.items():
        panel.plot(*zip(*sorted(points), strict=True), **styles[arm], markersize=4)
    panel.loglog()
    panel.xaxis.set_major_locator(LogLocator(numticks=8))
    panel.xaxis.set_major_formatter(lambda splits, _: f"{splits:,.0f}")
    panel.xaxis.set_minor_locator(NullLocator())
    _quantities(panel.yaxis, "s")
    panel.grid()
    _caption(figure, "splits of a foreach; processor time until the runtime has queued its join")
    _legend(figure, styles, curves)
    return figure


def _sweeps(cell: Cell) -> bool:
    return cell.payload.startswith(SWEEP_PREFIX)


def _title(cell: Cell) -> str:
    return cell.workload if cell.store == NONE else f"{cell.workload}, {cell.store}"


def _panels(
    count: int, columns: int, height: float, sharex: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, at most so many in a row of so many inches."""
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, 0.5 + rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex).flatten()
    for unused in axes[count:]:
        unused.remove()
    return figure, list(axes[:count])


def _caption(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize="medium")


def _quantities(axis: Axis, unit: str, suffix: str = "", steps: Sequence[int] = (1,)) -> None:
    """Ticks of a logarithmic axis at `steps` times powers of ten, in words."""
    axis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axis.set_major_formatter(lambda value, _: quantity(value, unit, digits=1) + suffix)
    axis.set_minor_locator(NullLocator())


def _legend(figure: Figure, styles: Styles, arms: Iterable[str]) -> None:
    figure.legend(
        handles=[Line2D([], [], label=arm, **styles[arm]) for arm in dict.fromkeys(arms)],
        loc="outside upper left",
        ncols=6,
    )
