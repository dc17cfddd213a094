"""What scheduling a sweep costs, beside what its cells cost: data/scale.tsv.

Real flows show what one task costs: processor time, files and bytes of metadata. These grow with
the number of cells and nothing else, so a wide sweep costs them times its cells. What the
scheduler does for one task can grow with the number of tasks, and is measured in sweeps as wide as
the machine can bear, the tasks of which are simulated (bench/scale_flow.py): its processor time,
not the time on a clock, so that what else the machine does adds little.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from bench.environments import Environment, Tree, clean_environment, last_line
from bench.errors import BenchError
from bench.machine import this_machine
from bench.records import load_records, write_records
from bench.results import PATCHED, STOCK
from bench.session import now
from bench.tables import Grid, markdown, quantity

SCALE = Path("data", "scale.tsv")
FLOW = Path(__file__).with_name("scale_flow.py")
REAL, SIMULATED = "real", "simulated"
# Cells of real flows, and of those whose tasks are simulated: twice where that takes seconds.
REAL_WIDTHS = (2, 20)
WIDTHS = (100, 300, 1000, 100, 300, 1000, 3000, 5000)
# What is predicted.
CELLS = 10_000
WORKERS = 2


@dataclass(frozen=True)
class Scale:
    """The cost of one run. The columns are these fields, in order."""

    time: str  # UTC, ISO 8601
    processor: str
    python: str  # version
    release: str
    arm: str
    series: str  # hash of the patch files in the arm, 12 hex digits; "-" is stock
    tasks: str  # real, simulated
    width: int  # cells
    scheduler_seconds: float  # of processor time
    task_seconds: float  # of processor time, of all tasks
    join_seconds: float  # from when the join is registered until it is done
    files: int  # that the run added to datastore and metadata
    bytes: int  # of them


@dataclass(frozen=True)
class Subject:
    """What schedules: the Metaflow of an arm."""

    arm: str
    tree: Tree
    environment: Environment
    release: str


def measure_scale(
    subjects: Sequence[Subject], widths: Sequence[int], folder: Path
) -> Iterator[Scale]:
    """Every width under every arm, forth and back in turn. Raises BenchError if a flow fails."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = [(REAL, width) for width in REAL_WIDTHS] + [(SIMULATED, width) for width in widths]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for number, (tasks, width) in enumerate(runs):
            for subject in subjects if number % 2 else reversed(subjects):
                store = Path(name, subject.arm)
                store.mkdir(exist_ok=True)
                yield _measure(subject, store, tasks, width)


def _measure(subject: Subject, store: Path, tasks: str, width: int) -> Scale:
    flows = store / ".metaflow" / "ScaleFlow"
    env = clean_environment(
        METAFLOW_DATASTORE_SYSROOT_LOCAL=str(store),
        METAFLOW_HOME=str(store),
        SCALE_COSTS=str(store / "costs"),
    )
    if tasks == SIMULATED:
        # One of the first real run.
        env["SCALE_TEMPLATE"] = str(next(flows.glob("*/measure/2")))
    before = _footprint(flows)
    run = _run_flow(subject, store, width, env)
    after = _footprint(flows)
    scheduler, children = json.loads((store / "costs").read_text())
    return Scale(
        time=now(),
        processor=this_machine().processor,
        python=_python(subject),
        release=subject.release,
        arm=subject.arm,
        series=subject.tree.series,
        tasks=tasks,
        width=width,
        scheduler_seconds=round(scheduler, 3),
        task_seconds=round(children, 3),
        join_seconds=_join_seconds(flows / run),
        files=after[0] - before[0],
        bytes=after[1] - before[1],
    )


def _run_flow(subject: Subject, store: Path, width: int, env: Mapping[str, str]) -> str:
    """Returns the id of the run."""
    command = [str(subject.environment.python), str(FLOW), "--quiet", "--no-pylint", "run"]
    command += ["--width", str(width), "--max-num-splits", str(width)]
    command += ["--max-workers", str(WORKERS), "--run-id-file", str(store / "run")]
    done = subprocess.run(command, cwd=store, env=dict(env), capture_output=True, text=True)
    if done.returncode:
        said = last_line(done.stderr)
        raise BenchError(f"arm {subject.arm} failed to schedule {width} cells: {said}")
    return (store / "run").read_text()


def _python(subject: Subject) -> str:
    command = [
        str(subject.environment.python),
        "-c",
        "import platform as p; print(p.python_version())",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _footprint(folder: Path) -> tuple[int, int]:
    """Files in a folder, and their bytes."""
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return len(sizes), sum(sizes)


def _join_seconds(run: Path) -> float:
    (join,) = (path for path in (run / "join").iterdir() if path.name != "_meta")
    begin = json.loads((join / "_meta" / "_self.json").read_text())["ts_epoch"]
    (done,) = (join / "_meta").glob("sysmeta_attempt-done_*.json")
    return float(json.loads(done.read_text())["ts_epoch"] - begin) / 1000


def load_scale(path: Path) -> list[Scale]:
    """Raises BenchError for a file that is missing or foreign."""
    return load_records(path, Scale, 'make it with make sweep ARGS="--scale"')


def write_scale(path: Path, found: Sequence[Scale]) -> None:
    write_records(path, Scale, found)


def scale_block(found: Sequence[Scale]) -> str:
    """status.md: the scheduler's curve, and what a sweep of `CELLS` cells costs."""
    newest = found[-1]
    arms = {arm: [one for one in found if one.arm == arm] for arm in (STOCK, PATCHED)}
    lines = [_curve_line(arms, width) for width in sorted({CELLS, *(one.width for one in found)})]
    header = ("cells", "tasks", "scheduler, stock", "patched", "gain", "join, stock", "patched")
    return "\n\n".join(
        [
            f"Processor time of the scheduler, and time of the join; on {newest.processor}, "
            f"Python {newest.python}, Metaflow {newest.release}, up to {newest.time[:10]}.",
            markdown(Grid(header, tuple(lines), labels=2)),
            f"Besides, {CELLS:,} cells cost, at what a cell costs in real flows of "
            f"{REAL_WIDTHS[0]} and {REAL_WIDTHS[1]} cells:",
            markdown(_totals({arm: _marginal(ones) for arm, ones in arms.items()})),
        ]
    )


def _curve_line(arms: Mapping[str, Sequence[Scale]], width: int) -> tuple[str, ...]:
    here = [one for ones in arms.values() for one in ones if one.width == width]
    tasks = here[0].tasks if here else "predicted"
    stock, patched = (_cost(ones, width, "scheduler_seconds") for ones in arms.values())
    joins = (_cost(ones, width, "join_seconds") for ones in arms.values())
    costs = [quantity(one, "s") for one in (stock, patched)]
    gain = f"{stock / patched:.1f}x"
    return (f"{width:,}", tasks, *costs, gain, *(quantity(one, "s") for one in joins))


def _cost(found: Sequence[Scale], width: int, name: str) -> float:
    """The median of what was measured at a width, or what the others predict."""
    values = [getattr(one, name) for one in found if one.width == width]
    if values:
        return float(median(values))
    simulated = [one for one in found if one.tasks == SIMULATED]
    widths = np.array([one.width for one in simulated], dtype=float)
    costs = np.array([getattr(one, name) for one in simulated])
    # A constant, a share of each cell, and one of each pair of cells; relative errors count.
    return float(np.polyval(np.polyfit(widths, costs, 2, w=1 / costs), width))


def _marginal(found: Sequence[Scale]) -> dict[str, float]:
    """What one more cell costs in a real flow."""
    few, many = REAL_WIDTHS
    real = [one for one in found if one.tasks == REAL]
    return {
        name: (_cost(real, many, name) - _cost(real, few, name)) / (many - few)
        for name in ("task_seconds", "files", "bytes")
    }


def _totals(marginal: Mapping[str, Mapping[str, float]]) -> Grid:
    rows = []
    for arm, one in marginal.items():
        hours = CELLS * one["task_seconds"] / 3600
        files, size = CELLS * one["files"], quantity(CELLS * one["bytes"], "B")
        rows.append((arm, f"{hours:.1f} h", f"{files:,.0f}", size))
    header = ("arm", "processor time of starting tasks", "files of metadata", "in them")
    return Grid(header, tuple(rows))
