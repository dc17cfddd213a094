"""Tab-separated files of records: a header with the fields of a dataclass, one line for each."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from bench.errors import BenchError

Record = TypeVar("Record")


def load_records(path: Path, kind: type[Record], remedy: str) -> list[Record]:
    """All records of a file, in its order.

    Raises BenchError, which ends with `remedy`, for a file that is missing or foreign.
    """
    if not path.exists():
        raise BenchError(f"there is no {path}: {remedy}")
    columns = _columns(kind)
    lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t"))
    if lines[:1] != [columns] or any(len(line) != len(columns) for line in lines):
        raise BenchError(f"{path} does not have the columns {', '.join(columns)}: {remedy}")
    convert = [get_type_hints(kind)[column] for column in columns]
    try:
        return [
            kind(*(make(cell) for make, cell in zip(convert, line, strict=True)))
            for line in lines[1:]
        ]
    except ValueError as error:
        raise BenchError(f"{path}: {error}: {remedy}") from None


def write_records(path: Path, kind: type[Record], records: Sequence[Record]) -> None:
    """Replace the file in one rename."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, delimiter="\t", lineterminator="\n")
        lines.writerow(_columns(kind))
        for record in records:
            cells: tuple[Any, ...] = astuple(record)  # type: ignore[call-overload]
            lines.writerow(cell.value if isinstance(cell, Enum) else cell for cell in cells)
    partial.replace(path)


def _columns(kind: type[Any]) -> list[str]:
    return [field.name for field in fields(kind)]
