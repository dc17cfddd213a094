"""What others keep Python objects with, beside Metaflow: a table for each payload.

Not a race of equals: the columns at the right say what the time buys. Both are tried, not read: a
second copy is saved, and bits are flipped (bench/workers/peers.py).
"""

from collections.abc import Callable, Sequence
from statistics import median

from bench.results import AGAIN, PATCHED, PEER_WORKLOADS, STOCK, Row
from bench.statistics import Contrast, Verdict, compare_with
from bench.tables import Grid, folded, markdown, quantity, times

NOTHING = "Not measured yet: `make bench-peers`."
# What is shown unfolded: the size that artifacts of models begin with.
SHOWN = "model weights"
# Compressing is what makes a payload smaller than this share of its pickle: that of NumPy arrays
# differs by some bytes with the protocol.
SMALLER = 0.9
# From the point of view of a peer that is beside ours.
SAID = {
    Verdict.BETTER: "ahead of ours",
    Verdict.SAME: "not beyond noise",
    Verdict.WORSE: "behind ours",
    Verdict.NONE: "no verdict",
}


def peers_block(rows: Sequence[Row]) -> str:
    """status.md: time, ratio to ours, and what it buys. `rows` come from one `Selection`."""
    own = [row for row in rows if row.workload in PEER_WORKLOADS]
    if not own:
        return NOTHING
    ours = {
        (one.cell.workload, one.cell.payload, one.arm): one
        for one in compare_with(own, PATCHED)
        if one.cell.metric == "time"
    }
    parts = []
    for payload in dict.fromkeys(row.payload for row in own):
        here = [row for row in own if row.payload == payload]
        table = markdown(peers_grid(here, ours))
        title = f"{payload}, {quantity(here[0].bytes, 'B')}"
        parts.append(f"{title}:\n\n{table}" if payload == SHOWN else folded(title, table))
    parts.append(_said_of_efforts(own, ours))
    newest = max(own, key=lambda row: row.time)
    parts.append(
        f"Measured up to {newest.time[:10]} on {newest.processor}, {newest.cores} cores, Python "
        f"{newest.python}, to memory (tmpfs). A ratio is the time of the line to that of "
        f"`{PATCHED}` in the same rounds, with the 95 % interval."
    )
    return "\n\n".join(parts)


def _said_of_efforts(rows: Sequence[Row], ours: dict[tuple[str, str, str], Contrast]) -> str:
    """Which peers do more than to write a pickle down, and where they stand beside ours."""
    peers = [
        arm
        for arm in dict.fromkeys(row.arm for row in rows)
        if arm not in (STOCK, AGAIN) and not arm.startswith(PATCHED)
    ]
    doing: dict[str, Callable[[Row], bool]] = {
        "make it smaller": lambda row: row.metric == "stored" and row.value < SMALLER * row.bytes,
        "see all damage": lambda row: row.metric == "noticed" and row.value == 1,
        "save no second copy": lambda row: row.metric == "deduplicated" and row.value == 1,
    }
    efforts = {
        effort: [arm for arm in peers if any(row.arm == arm and does(row) for row in rows)]
        for effort, does in doing.items()
    }
    who = "; ".join(f"{effort}: {', '.join(arms) or 'none'}" for effort, arms in efforts.items())
    stand = "; ".join(
        f"{arm} {workload.removeprefix('peers ')}: {SAID[ours[workload, SHOWN, arm].verdict]}"
        for arm in peers
        if any(arm in arms for arms in efforts.values())
        for workload in PEER_WORKLOADS
        if (workload, SHOWN, arm) in ours
    )
    return f"Of the others, {who}." + (f" With {SHOWN}, {stand}." if stand else "")


def peers_grid(rows: Sequence[Row], ours: dict[tuple[str, str, str], Contrast]) -> Grid:
    """A line for each arm that measured one payload, the fastest to save first."""
    lines = []
    for arm in dict.fromkeys(row.arm for row in rows if row.arm != AGAIN):
        cells = {
            (row.workload, row.metric): median(
                one.value
                for one in rows
                if (one.arm, one.workload, one.metric) == (arm, row.workload, row.metric)
            )
            for row in rows
            if row.arm == arm
        }
        save, load = PEER_WORKLOADS
        found = [_name(arm, rows)]
        for workload in PEER_WORKLOADS:
            contrast = ours.get((workload, rows[0].payload, arm))
            found += [_quantity(cells.get((workload, "time")), "s")]
            found += [times(contrast) if contrast else ""]
        found += [_quantity(cells.get((save, "stored")), "B")]
        found += [_share(cells.get((save, "deduplicated")))]
        found += [_share(cells.get((load, "noticed")))]
        lines.append((cells.get((save, "time"), 0.0), tuple(found)))
    header = (
        "",
        "save",
        "to ours",
        "load",
        "to ours",
        "stored",
        "second copy saved",
        "damage seen",
    )
    return Grid(header, tuple(found for _, found in sorted(lines)))


def _name(arm: str, rows: Sequence[Row]) -> str:
    """The arm, and the version of the package that it is named after."""
    if arm == STOCK or arm.startswith(PATCHED):
        return f"Metaflow, {arm}"
    libraries = next(row.libraries for row in rows if row.arm == arm)
    versions = dict(one.split("=", 1) for one in libraries.split())
    version = versions.get(arm.partition("+")[0].lower())
    return f"{arm} {version}" if version else arm


def _quantity(value: float | None, unit: str) -> str:
    return "" if value is None else quantity(value, unit)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
