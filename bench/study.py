"""data/study.tsv: the published figures of the original study, as published and by hand.

One line for each payload; time of pickle -> compress -> hash in seconds, with gzip level 3 and with
lz4.frame. They are shown beside ours and compared with nothing.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError


@dataclass(frozen=True)
class Figure:
    gzip_seconds: float
    lz4_seconds: float
    speed_up: float


@dataclass(frozen=True)
class Study:
    """`source` is the machine it was made on; figures are by workload and payload."""

    source: str
    figures: dict[tuple[str, str], Figure]


def load_study(path: Path) -> Study:
    """Raises BenchError for a file that is missing or foreign."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return _parse(list(csv.DictReader(file, delimiter="\t")))
    except (FileNotFoundError, KeyError, ValueError):
        raise BenchError(f"{path} does not hold the study's figures: restore it") from None


def _parse(lines: Sequence[dict[str, str]]) -> Study:
    sources = dict.fromkeys(
        f"{line['machine']}, {line['system']}, Python {line['python']}" for line in lines
    )
    figures = {
        (line["workload"], line["payload"]): Figure(
            float(line["gzip_seconds"]), float(line["lz4_seconds"]), float(line["speed_up"])
        )
        for line in lines
    }
    return Study("; ".join(sources), figures)
