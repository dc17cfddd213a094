"""data/results.tsv: the measured facts. This docstring is its schema; all else is derived.

Tab-separated UTF-8, a header line, then one row for each observation: what one process
found, the median over its repetitions where it repeats. Rows are only ever added. The columns
are the fields of `Row`, in order.

Words in columns that the statistics and the report rely on:

- arm `stock` is the control, `stock-again` the same tree under a second name: their ratio is
  what the machine calls a difference when there is none. Arm `floor` is what the hardware
  allows, by the simplest Python without Metaflow: in memory, on the file system, as processes.
- A round runs every arm, and the next one runs them backwards (A B C, C B A). `round` counts
  within a session and workload; `position` is the place within the round. A resumed session
  keeps its name and goes on with the first round that is not complete.
- metric `time` in `s`; `peak_memory` (above the object's own size) and `stored` in `B`;
  `requests`, which a server of the store was asked, in `1`.
  Less is better in all of them. What only describes a payload (`entropy`, `gzip_ratio` ...)
  has unit `1`, and no verdict.
- Workloads `peers save` and `peers load` hold what others keep objects with beside Metaflow. Of
  them, `deduplicated` is the share of a second copy that is not stored, and `noticed` the share of
  flipped bits that a load does not pass over.
- Payloads whose name begins with `float64 ` are the size sweep, `SWEEP`: normally distributed
  float64 arrays; plots draw them at `bytes`.
- A workload without a payload or a store has `-` there, and 0 bytes.
"""

import contextlib
import fcntl
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import get_type_hints

from bench.errors import BenchError

STOCK = "stock"
PATCHED = "patched"
AGAIN = "stock-again"
FLOOR = "floor"
NONE = "-"
# The workload whose payloads are numbers of splits: plots draw them in that order.
JOIN = "join"
# The workload of what a run costs beside its steps: its arms are stock with that.
COSTS = "costs"
PEER_WORKLOADS = ("peers save", "peers load")
# What decides how fast SHA-1 is; rows from before it was looked for do not say.
SHA = "SHA instructions"

SWEEP_PREFIX = "float64 "
# Payload names of the size sweep, and the bytes of their array.
SWEEP = {
    SWEEP_PREFIX + label: size
    for label, size in {
        "100 B": 100,
        "1 KB": 1_000,
        "10 KB": 10_000,
        "100 KB": 100_000,
        "1 MB": 1_000_000,
        "10 MB": 10_000_000,
        "100 MB": 100_000_000,
        "400 MB": 400_000_000,
    }.items()
}


@dataclass(frozen=True)
class Row:
    """One observation."""

    time: str  # when it was made: UTC, ISO 8601, 2026-01-31T12:00:00Z
    session: str  # one invocation of the benchmark, resumptions included
    round: int  # from 0
    position: int  # from 0, within the round
    machine: str  # fingerprint, 12 hex digits: rows of two machines are never compared
    processor: str  # name, family, model, stepping
    cores: int
    memory_gb: float
    # Kernel and distribution; with or without `SHA`; of a virtual machine its size and region.
    system: str
    python: str  # version
    libraries: str  # all of the arm's environment but Metaflow: "boto3=1.40.1 numpy=2.1.0"
    release: str  # upstream at the pin
    series: str  # hash of the patch files in the arm, 12 hex digits; "-" is stock
    bench: str  # hash of the code that decides figures, 12 hex digits
    workload: str
    payload: str
    store: str
    arm: str
    metric: str
    bytes: int  # the payload, pickled
    unit: str  # of value: s, B, 1
    value: float


COLUMNS = tuple(field.name for field in fields(Row))
HEADER = "\t".join(COLUMNS) + "\n"
_CONVERT = get_type_hints(Row)


def load_rows(path: Path) -> list[Row]:
    """All rows of a result file, in its order.

    Raises BenchError for a file that is missing, is no result file, or has a bad line. A last
    line without its end was torn by a foreign hand (`append_rows` cannot leave one) and is
    refused like any other bad line.
    """
    try:
        return _parse(path.read_bytes(), path)
    except FileNotFoundError:
        raise BenchError(f"no results at {path}: run make bench, or name another file") from None
    except IsADirectoryError:
        raise BenchError(f"{path} is a folder: name a result file in it") from None


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add all rows, or none if this process is killed: the file is replaced in one rename.

    Creates the file and its header. Two processes that append at once wait for each other.
    Raises BenchError for a foreign file, and for a row that a TSV cannot hold.
    """
    added = [(row, _format(row)) for row in rows]
    _add(path, lambda _: added)


def merge_rows(path: Path, rows: Iterable[Row]) -> int:
    """Add the rows that are not there yet, as `append_rows` does; returns how many.

    No two observations are equal in all columns: equal rows are copies of one.
    """
    formatted = {row: _format(row) for row in rows}
    return _add(path, lambda known: [one for one in formatted.items() if one[0] not in known])


def _add(path: Path, choose: Callable[[set[Row]], Collection[tuple[Row, str]]]) -> int:
    """Add the lines that are chosen when one knows what is there; returns how many."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        before = path.read_bytes() if path.exists() else HEADER.encode()
        added = choose(set(_parse(before, path)))
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                file.write(before + "".join(line for _, line in added).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk
            partial.unlink()
            raise
        partial.replace(path)
    return len(added)


def _parse(content: bytes, path: Path) -> list[Row]:
    header, _, body = content.partition(b"\n")
    if header + b"\n" != HEADER.encode():
        raise BenchError(f"{path} is no result file: its first line is not the columns of one")
    lines = body.split(b"\n")
    if lines.pop():
        raise BenchError(f"{path}, line {len(lines) + 2}, ends too early: delete that line")
    return [_row(line, f"{path}, line {number}") for number, line in enumerate(lines, 2)]


def _row(line: bytes, where: str) -> Row:
    try:
        cells = line.decode().split("\t")
    except UnicodeDecodeError:
        raise BenchError(f"{where}, is not UTF-8: restore the file") from None
    if len(cells) != len(COLUMNS):
        raise BenchError(
            f"{where}, has {len(cells)} cells instead of {len(COLUMNS)}: restore the file"
        )
    try:
        row = Row(*(_CONVERT[name](cell) for name, cell in zip(COLUMNS, cells, strict=True)))
    except ValueError as error:
        raise BenchError(f"{where}: {error}: restore the file") from None
    if not math.isfinite(row.value):
        raise BenchError(f"{where}: value {row.value} is no measurement: restore the file")
    return row


def _format(row: Row) -> str:
    line = "\t".join(str(cell) for cell in astuple(row))
    if "\n" in line or _row(line.encode(), "new row") != row:
        raise BenchError(f"a tab-separated line cannot hold this row: {row}")
    return line + "\n"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder: the file itself is replaced, and a lock on it would be lost."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
