"""data/faults.tsv: what was promised, what was broken to see whether it holds, and how often not.

The columns are the fields of `Fault`, in order. Promises are those of resilience/workers/tally.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.records import load_records, write_records
from bench.tables import Grid, folded, markdown

FAULTS = Path("data", "faults.tsv")
SKIPPED = "skipped: "


@dataclass(frozen=True)
class Fault:
    promise: str
    fault: str  # what was done
    arm: str
    format: str  # of what was stored; "raw" has no encoding, code packages and spin use it
    cases: int
    violations: int
    silent: int  # violations without an error: other bytes than were saved
    example: str  # the first violation, or why there are no cases
    series: str  # hash of the patch files in the arm, 12 hex digits; "-" is stock
    python: str  # version


def load_faults(path: Path) -> list[Fault]:
    """Raises BenchError for a file that is missing or foreign."""
    return load_records(path, Fault, "make it with make faults")


def write_faults(path: Path, faults: Sequence[Fault]) -> None:
    write_records(path, Fault, faults)


def faults_block(faults: Sequence[Fault]) -> str:
    """status.md: violations of cases by arm, and the first violation of each kind."""
    cases = sum(one.cases for one in faults)
    pythons = ", ".join(dict.fromkeys(one.python for one in faults))
    series = ", ".join(dict.fromkeys(one.series for one in faults if one.series != "-"))
    lines = _lines(faults)
    broken = {what for what, by_arm in lines.items() if any(f.violations for f in by_arm.values())}
    arms = tuple(dict.fromkeys(one.arm for one in faults))
    parts = [f"{cases:,} cases, Python {pythons}, series {series}. What was broken at least once:"]
    parts.append(markdown(_grid(arms, {what: lines[what] for what in lines if what in broken})))
    for title, grid in (
        ("first violations", _examples([one for one in faults if one.violations])),
        ("held", _grid(arms, {what: lines[what] for what in lines if what not in broken})),
        ("skipped", _examples([one for one in faults if one.example.startswith(SKIPPED)])),
    ):
        if grid.rows:
            parts.append(folded(title, markdown(grid)))
    return "\n\n".join(parts)


# Faults by arm, for each promise, fault and format.
Lines = dict[tuple[str, str, str], dict[str, Fault]]


def _lines(faults: Sequence[Fault]) -> Lines:
    lines: Lines = {}
    for one in faults:
        lines.setdefault((one.promise, one.fault, one.format), {})[one.arm] = one
    promises = list(dict.fromkeys(one.promise for one in faults))
    ordered = sorted(lines, key=lambda what: (promises.index(what[0]), *what[1:]))
    return {what: lines[what] for what in ordered}


def _grid(arms: Sequence[str], lines: Lines) -> Grid:
    rows = (
        (*what, *(_cell(by_arm[arm]) if arm in by_arm else "" for arm in arms))
        for what, by_arm in lines.items()
    )
    return Grid(("promise", "fault", "format", *arms), tuple(rows), labels=3)


def _cell(one: Fault) -> str:
    """violations of cases; those without an error are wrong data."""
    if one.example.startswith(SKIPPED):
        return "skipped"
    silent = f", {one.silent:,} **silent**" if one.silent else ""
    return f"{one.violations:,} of {one.cases:,}{silent}"


def _examples(faults: Sequence[Fault]) -> Grid:
    arms: dict[tuple[str, str, str], dict[str, None]] = {}
    for one in faults:
        example = one.example.replace("|", "\\|").replace("`", "'")
        arms.setdefault((one.fault, one.format, f"`{example}`"), {})[one.arm] = None
    rows = ((*what, ", ".join(by)) for what, by in arms.items())
    return Grid(("fault", "format", "said", "arms"), tuple(rows), labels=4)
