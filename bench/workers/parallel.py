"""Time parallel_map over short tasks with this Metaflow: what the waiting costs."""

import os
import pickle
import selectors
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from work import FLOOR, Finding, finding, run

MOST = 3
SECONDS = 1.0


def compute(seconds: float, number: int) -> int:
    """A task that computes for so long, and gives its number back."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return number


def map_by_hand(function: Callable[[int], int], numbers: Iterable[int]) -> list[int]:
    """The floor: a fork and a pipe for each task, as many at a time as there are processors,
    and a wait for whichever pipe ends first."""
    waiting, results = list(enumerate(numbers))[::-1], dict[int, int]()
    with selectors.DefaultSelector() as running:
        while waiting or running.get_map():
            while waiting and len(running.get_map()) < (os.cpu_count() or 1):
                place, number = waiting.pop()
                child, pipe = start_task(function, number)
                running.register(pipe, selectors.EVENT_READ, (place, child))
            for key, _ in running.select():
                place, child = key.data
                running.unregister(key.fileobj)
                with os.fdopen(key.fd, "rb") as file:
                    results[place] = pickle.load(file)
                os.waitpid(child, 0)
    return [results[place] for place in sorted(results)]


def start_task(function: Callable[[int], int], number: int) -> tuple[int, int]:
    """A child, and the end of the pipe that its result comes from."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    try:
        os.write(write, pickle.dumps(function(number)))
    finally:
        os._exit(0)


def measure(map_tasks: Callable[..., list[int]], name: str) -> float:
    """Median seconds of one call over the tasks that a payload names: "8 tasks of 50 ms"."""
    count, *_, last = name.removesuffix(" ms").split()
    task = partial(compute, float(last) / 1000 if name.endswith(" ms") else 0.0)
    numbers = range(int(count))
    timings: list[float] = []
    while len(timings) < MOST and sum(timings) < SECONDS:
        begin = time.perf_counter()
        results = map_tasks(task, numbers)
        timings.append(time.perf_counter() - begin)
        if results != list(numbers):
            raise SystemExit(f"results are lost: {name}")
    return statistics.median(timings)


def work(assignment: dict[str, Any]) -> list[Finding]:
    map_tasks = map_by_hand
    if not FLOOR:
        from metaflow import parallel_map

        map_tasks = parallel_map
    map_tasks(partial(compute, 0.0), [0])
    return [
        finding("parallel_map", name, "time", measure(map_tasks, name))
        for name in assignment["payloads"]
    ]


if __name__ == "__main__":
    run(work)
