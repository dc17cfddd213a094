"""Time parallel_map over short tasks with this Metaflow: what the waiting costs."""

import statistics
import time
from typing import Any

from work import Finding, finding, run

from metaflow import parallel_map

MOST = 3
SECONDS = 1.0
# A task that computes for a moment, rather than nothing at all.
TASK_SECONDS = 0.005


def short_task(number: int) -> int:
    end = time.perf_counter() + TASK_SECONDS
    while time.perf_counter() < end:
        pass
    return number


def measure(tasks: int) -> float:
    """Median seconds of one call over so many tasks."""
    timings: list[float] = []
    while len(timings) < MOST and sum(timings) < SECONDS:
        begin = time.perf_counter()
        results = parallel_map(short_task, range(tasks))
        timings.append(time.perf_counter() - begin)
        if results != list(range(tasks)):
            raise SystemExit(f"parallel_map lost results of {tasks} tasks")
    return statistics.median(timings)


def work(assignment: dict[str, Any]) -> list[Finding]:
    parallel_map(short_task, [0])
    return [
        finding("parallel_map", name, "time", measure(int(name.split()[0])))
        for name in assignment["payloads"]
    ]


if __name__ == "__main__":
    run(work)
