"""What a task of the sweep runs, in the bench's own environment: measure a cell.

`python -m bench.cell JOB`, JOB being JSON, in the folder of an unpacked archive (bench/sweep.py):
that folder holds this package, and no other. Prints its answer as JSON.
"""

import contextlib
import fcntl
import json
import platform
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from bench.arms import ARMS, CONTROLS, Arm
from bench.environments import ROOT, Tree
from bench.errors import BenchError
from bench.machine import this_machine
from bench.results import HEADER, load_rows
from bench.runner import Bench, run_benchmark
from bench.schedule import Step
from bench.session import now
from bench.sweep import Cell, cell_cases

TMPFS = Path("/dev/shm")


class Lines:
    """Progress as lines of the task's log."""

    def prepare(self, what: str) -> None:
        self.say(f"preparing {what}")

    def step(self, step: Step, seconds_left: float) -> None:
        self.say(f"round {step.round + 1}: {step.arm.name}, {step.case}, {seconds_left:.0f} s left")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def measure_cell(cell: Cell, folder: Path, environments: Path) -> dict[str, Any]:
    """What became of a cell, and its rows; the same folder goes on where a lost task stopped."""
    manifest = json.loads((ROOT / "manifest.json").read_text())
    arms = _arms(cell.arm)
    results = folder / "results.tsv"
    answer = {"outcome": "measured", "reason": ""}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        trees = {name: _tree(manifest["trees"][name]) for arm in arms for name in arm.trees}
        cases = cell_cases(cell.workload, cell.payload, cell.store)
        limit = 60 * cell.minutes
        bench = Bench(folder, results, manifest["release"], trees, TMPFS, limit, environments)
        run_benchmark(bench, cases, arms, Lines())
        timed = {workload for case in cases for workload in case.workloads}
        if not any(row.workload in timed for row in load_rows(results)):
            raise BenchError("no round fits into the time given: give more minutes in the plan")
    except BenchError as error:
        answer = {"outcome": "failed", "reason": " ".join(str(error).split())}
    answer["time"] = now()
    answer["fingerprint"] = this_machine().fingerprint
    answer["python"] = platform.python_version()
    answer["rows"] = results.read_text(encoding="utf-8") if results.exists() else HEADER
    shutil.rmtree(folder)
    return answer


def _arms(name: str) -> tuple[Arm, ...]:
    return tuple(arm for arm in ARMS if arm.name in (*CONTROLS, name))


def _tree(packed: dict[str, str]) -> Tree:
    """A tree from its wheel, which is unpacked once to prove what environments import."""
    wheel = ROOT / packed["wheel"]
    source = ROOT / "trees" / wheel.parent.name
    if not source.exists():
        source.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=source.parent) as partial:
            with zipfile.ZipFile(wheel) as files:
                files.extractall(partial)
            with contextlib.suppress(OSError):  # another task was first
                Path(partial).rename(source)
            Path(partial).mkdir(exist_ok=True)
    return Tree(source, wheel, packed["series"])


def main() -> None:
    job = json.loads(sys.argv[1])
    cell, folder = Cell(**job["cell"]), Path(job["folder"])
    # An attempt whose task was lost may still run, until it finds nobody to tell.
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = measure_cell(cell, folder, Path(job["environments"]))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
