"""Runs the arms against each other, each in its own process from its own tree.

A round runs the arms forth and back (A B C C B A), so that a machine that slows down or
speeds up slows or speeds all arms alike. Stock runs twice in every round: the ratio of
its first to its second halves is what this machine calls a difference when there is none.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uv

from bench.arms import REQUIREMENTS, Arm

WORKER = Path(__file__).with_name("save_worker.py")


class BenchError(Exception):
    """A measurement could not be made; the message says what to do."""


@dataclass(frozen=True)
class Saves:
    """Saves of one payload by one arm: median seconds of each process, bytes stored."""

    medians: tuple[float, ...]
    stored: int

    @property
    def seconds(self) -> float:
        return statistics.median(self.medians)

    @property
    def halves_ratio(self) -> float:
        """Forth runs over back runs, the larger over the smaller: at least 1."""
        forth, back = (statistics.median(self.medians[half::2]) for half in (0, 1))
        return max(forth, back) / min(forth, back)


def store_root() -> Path:
    """Where stores go: memory where the machine offers it, so that the disk decides nothing."""
    shm = Path("/dev/shm")
    return shm if os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def run_rounds(
    arms: tuple[Arm, ...],
    trees: Mapping[str, Path],
    rounds: int,
    on_process: Callable[[Arm], None],
) -> dict[str, dict[str, Saves]]:
    """Measure all arms; returns saves by payload and arm.

    `trees` gives each arm's source tree; `on_process` is told before each process starts.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for _ in range(rounds):
        for arm in (*arms, *reversed(arms)):
            on_process(arm)
            for payload, saves in _run_worker(arm, trees[arm.name]).items():
                found.setdefault(payload, {}).setdefault(arm.name, []).append(saves)
    return {
        payload: {
            arm: Saves(tuple(statistics.median(one["seconds"]) for one in all), all[0]["stored"])
            for arm, all in by_arm.items()
        }
        for payload, by_arm in found.items()
    }


def _run_worker(arm: Arm, tree: Path) -> dict[str, dict[str, Any]]:
    command = [uv.find_uv_bin(), "run", "--quiet", "--no-project", "--python", sys.executable]
    for requirement in (*REQUIREMENTS, *arm.installed):
        command += ["--with", requirement]
    # The machine's own Metaflow settings must not decide what is measured.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("METAFLOW_") and name != "VIRTUAL_ENV"
    }
    with tempfile.TemporaryDirectory(dir=store_root(), prefix="metaflow-perf-") as root:
        env = {"PYTHONPATH": str(tree), "METAFLOW_HOME": root, "METAFLOW_USER": "bench"}
        done = subprocess.run(
            [*command, "python", str(WORKER), root],
            cwd=root,
            env=kept | env | arm.settings,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BenchError(f"arm {arm.name} failed: {last}")
    result = json.loads(done.stdout)
    if not Path(result["metaflow"]).is_relative_to(tree):
        raise BenchError(f"arm {arm.name} imported {result['metaflow']} instead of {tree}")
    payloads: dict[str, dict[str, Any]] = result["payloads"]
    return payloads
