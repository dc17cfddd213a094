"""data/imports.tsv: what `import metaflow` loads, and how long each module takes.

As `python -X importtime` tells it, in the process of `RUNS` whose total is the median. The
columns are the fields of `Import`, in order; a module stands behind those that it imported
first, one level deeper.
"""

import platform
import re
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from bench.environments import Environment, Tree, clean_environment, last_line
from bench.errors import BenchError
from bench.machine import this_machine
from bench.records import load_records, write_records

IMPORTS = Path("data", "imports.tsv")
RUNS = 11
LINE = re.compile(r"import time: +(\d+) \| +(\d+) \| ( *)(\S+)")


@dataclass(frozen=True)
class Import:
    arm: str
    series: str  # hash of the patch files, 12 hex digits; "-" for stock
    processor: str
    python: str
    depth: int  # 0: metaflow itself
    module: str
    own: int  # microseconds without the modules that it imported first
    total: int  # with them


@dataclass(frozen=True)
class Box:
    """A module in an icicle chart: where it stands, in seconds, and how deep."""

    module: str
    depth: int
    start: float
    seconds: float


def load_imports(path: Path) -> list[Import]:
    """Raises BenchError for a file that is missing or foreign."""
    return load_records(path, Import, 'make it with make report ARGS="--imports"')


def write_imports(path: Path, imports: Sequence[Import]) -> None:
    write_records(path, Import, imports)


def time_imports(arm: str, tree: Tree, environment: Environment) -> list[Import]:
    """Import Metaflow in fresh processes of `environment`, with bytecode on disk."""
    command = [str(environment.python), "-X", "importtime", "-c", "import metaflow"]
    runs = []
    for _ in range(1 + RUNS):  # the first one warms up
        done = subprocess.run(
            command,
            cwd=environment.path,
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BenchError(f"arm {arm} cannot import metaflow: {last_line(done.stderr)}")
        lines = list(_of_metaflow(done.stderr))
        runs.append((lines[-1][3], lines))
    middle = statistics.median_low(total for total, _ in runs[1:])
    lines = next(lines for total, lines in sorted(runs[1:], key=itemgetter(0)) if total == middle)
    where = arm, tree.series, this_machine().processor, platform.python_version()
    return [Import(*where, *line) for line in lines]


def _of_metaflow(said: str) -> Iterator[tuple[int, str, int, int]]:
    """Depth, module, own and total of metaflow and all that is imported for it."""
    found = [match.groups() for match in map(LINE.fullmatch, said.splitlines()) if match]
    modules = [module for *_, module in found]
    last = len(modules) - 1 - modules[::-1].index("metaflow")
    first = last
    while first and found[first - 1][2]:  # what is not indented was imported by itself
        first -= 1
    for own, total, indent, module in found[first : last + 1]:
        yield len(indent) // 2, module, int(own), int(total)


def boxes(imports: Sequence[Import]) -> list[Box]:
    """The chart of one arm: what a module imports stands in it from the left, in order."""
    placed: list[Box] = []
    ends = {0: imports[-1].total / 1e6}  # by depth, where the next box ends
    for one in reversed(imports):  # a module before what it imported, the last first
        end = ends[one.depth]
        ends[one.depth] = start = end - one.total / 1e6
        ends[one.depth + 1] = end - one.own / 1e6  # its own time is at its right
        placed.append(Box(one.module, one.depth, start, one.total / 1e6))
    return placed[::-1]
