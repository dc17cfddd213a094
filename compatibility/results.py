"""data/compat.tsv: what each version reads of what each version wrote, and its table.

The columns are the fields of `Cell`, in order. One line for each writer, reader, way of reading
and format that the writer stored something in; the outcome is the worst of all contents.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bench.records import load_records, write_records
from bench.tables import Grid, folded, markdown

COMPAT = Path("data", "compat.tsv")


class Outcome(Enum):
    """What reading came to, from good to worst."""

    READS = "reads correctly"
    CLEAR = "fails with a clear error"  # names the stored object, or what is to be installed
    UNCLEAR = "fails unclearly"
    WRONG = "wrong data"


class Way(Enum):
    CLIENT = "client"  # Flow(...)[run][step].task[name].data
    RESUME = "resume"  # the reader resumes the writer's run
    MIXED = "mixed"  # a further step of the writer's run, under the reader


@dataclass(frozen=True)
class Cell:
    writer: str  # a release, or one of our arms
    reader: str
    way: Way
    format: str  # by the first bytes of what is stored: gzip, LZ4, unknown
    outcome: Outcome
    error: str  # as the reader said it, of the first content with this outcome
    series: str  # hash of the patch files in our arms, 12 hex digits
    python: str  # version of the reader's


# Where something is stored: a folder, and the key.
KEY = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64}|[0-9a-f]{40})(\.lz4)?")
MARKS = {Outcome.READS: "✓", Outcome.CLEAR: "E", Outcome.UNCLEAR: "U", Outcome.WRONG: "**WRONG**"}


def load_cells(path: Path) -> list[Cell]:
    """Raises BenchError for a file that is missing or foreign."""
    return load_records(path, Cell, "make it with make compat")


def write_cells(path: Path, cells: Sequence[Cell]) -> None:
    write_records(path, Cell, cells)


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    return max(outcomes, key=list(Outcome).index)


def compat_block(cells: Sequence[Cell]) -> str:
    """status.md: counts, a line for each reader, and every distinct error."""
    counts = Counter(cell.outcome for cell in cells)
    said = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome)
    versions = ", ".join(dict.fromkeys(cell.python for cell in cells))
    series = ", ".join(dict.fromkeys(cell.series for cell in cells))
    legend = ", ".join(f"{mark} {outcome.value}" for outcome, mark in MARKS.items())
    parts = [
        f"Cells: {said}. Python {versions}, series {series}.",
        markdown(_grid(cells)),
        f"{legend}.",
    ]
    listed = _errors(cells)
    if listed.rows:
        parts.append(folded("errors", markdown(listed)))
    return "\n\n".join(parts)


def _errors(cells: Sequence[Cell]) -> Grid:
    """Every distinct error, with keys left out: who says it, and reading what."""
    readers: dict[tuple[str, str], dict[str, None]] = {}
    formats: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        if cell.outcome is not Outcome.READS:
            error = cell.outcome.value, KEY.sub("<key>", cell.error).replace("|", "\\|")
            readers.setdefault(error, {})[cell.reader] = None
            formats.setdefault(error, {})[f"{cell.format} of {cell.writer}"] = None
    rows = ((*error, ", ".join(readers[error]), _join(tuple(formats[error]))) for error in readers)
    return Grid(("outcome", "error", "readers", "written"), tuple(rows), labels=4)


def _grid(cells: Sequence[Cell]) -> Grid:
    """A line for each reader; writers that all readers treat alike share a column."""
    readers = tuple(dict.fromkeys(cell.reader for cell in cells))
    columns: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        column = columns.setdefault(f"{cell.format} of {cell.writer}", {})
        column.setdefault(cell.reader, []).append(cell)
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, column in columns.items():
        marks = tuple(_mark(column[reader]) for reader in readers)
        alike.setdefault(marks, []).append(name)
    header = ("reader \\ written", *(_join(names) for names in alike.values()))
    rows = tuple(
        (reader, *(marks[number] for marks in alike)) for number, reader in enumerate(readers)
    )
    return Grid(header, rows, labels=len(header))


def _join(names: Sequence[str]) -> str:
    """gzip of 1, gzip of 2 -> gzip of 1, 2"""
    groups: dict[str, list[str]] = {}
    for name in names:
        format, _, writer = name.partition(" of ")
        groups.setdefault(format, []).append(writer)
    return "; ".join(f"{format} of {', '.join(writers)}" for format, writers in groups.items())


def _mark(cells: Sequence[Cell]) -> str:
    """One mark where all ways come to the same, else one for each."""
    marks = {cell.way.value: MARKS[cell.outcome] for cell in cells}
    if len(set(marks.values())) == 1:
        return next(iter(marks.values()))
    return ", ".join(f"{mark} {way}" for way, mark in marks.items())
