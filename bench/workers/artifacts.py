"""Time saves and loads of payloads through the real task datastore, with this Metaflow.

Each payload is saved in a fork of its own and loaded in another one, so that no memory of
one is used by the next. A fork first saves and loads `WARM_UP`, so that imports and the file
system are warm. How often it then repeats goes by time: the median of many where one takes
microseconds, one where one takes a tenth of a second.
"""

import gc
import json
import os
import pickle
import random
import shutil
import statistics
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import memory
from payloads import PAYLOADS, Payload
from work import FLOOR, Finding, finding, in_fork, run

SECONDS = 0.1
MOST = 200
# Memory comes in arenas of up to 1 MB (Python's obmalloc) and in pages of what other code left
# free: what a smaller payload needs is lost in that.
LEAST_SIZE_OF_PEAK = 1_000_000
# Enough for every codec to import its library (isal from 16 KB), and less than what changes how
# glibc hands out memory from then on (128 KB).
WARM_UP = {"warm": random.Random(0).randbytes(100_000)}


class PickleFiles:
    """The floor of save is one pickle.dump, protocol 5, of each artifact to a file on the same
    file system; of load, to read that file, check its CRC-32 and unpickle."""

    def __init__(self, root: str, name: str) -> None:
        self.folder = Path(root, name)
        self.folder.mkdir(exist_ok=True)

    def save(self, artifacts: dict[str, Any]) -> None:
        for name, artifact in artifacts.items():
            with Path(self.folder, name).open("wb") as file:
                pickle.dump(artifact, file, protocol=5)

    def finish(self) -> None:
        pass

    def open(self) -> None:
        self.checksums = {file: zlib.crc32(file.read_bytes()) for file in self.folder.iterdir()}

    def load(self) -> object:
        return {file.name: self._load(file) for file in self.checksums}

    def _load(self, file: Path) -> object:
        content = file.read_bytes()
        if zlib.crc32(content) != self.checksums[file]:
            raise SystemExit(f"{file} has changed")
        return pickle.loads(content)

    def stored(self) -> int:
        return sum(file.stat().st_size for file in self.folder.iterdir())

    def delete(self) -> None:
        shutil.rmtree(self.folder)


class Task:
    """The only task of a store of Metaflow, to save (before `finish`) or load (after `open`)."""

    def __init__(self, root: str, name: str) -> None:
        from stores import store

        self.store = store(root, name)
        self.new = self.store.flow.get_task_datastore("1", "start", "1", attempt=0, mode="w")

    def save(self, artifacts: dict[str, Any]) -> None:
        self.new.save_artifacts(iter(artifacts.items()), len_hint=len(artifacts))

    def finish(self) -> None:
        self.new.init_task()
        self.new.done()

    def open(self) -> None:
        self.finished = self.store.flow.get_task_datastore("1", "start", "1")
        self.names = [name for name, _ in self.finished.items()]

    def load(self) -> object:
        return dict(self.finished.load_artifacts(self.names))

    def stored(self) -> int:
        return int(self.store.stored())

    def delete(self) -> None:
        self.store.delete()


NewTask = Callable[[str], Any]
# Saves a payload, by name, and `WARM_UP` to the second and first of two places.
Writer = Callable[[str, str, str], None]


def make_artifacts(payload: Payload) -> dict[str, Any]:
    made = payload.make()
    return made if payload.many else {"payload": made}


def pickled_size(artifacts: dict[str, Any]) -> int:
    """Bytes that Metaflow hands to its store: every artifact pickled with protocol 4."""
    return sum(len(pickle.dumps(artifact, protocol=4)) for artifact in artifacts.values())


def enough(timings: list[float]) -> bool:
    return len(timings) >= MOST or sum(timings) >= SECONDS


def save_once(new_task: NewTask, artifacts: dict[str, Any]) -> tuple[float, Any]:
    task = new_task(uuid.uuid4().hex)
    begin = time.perf_counter()
    task.save(artifacts)
    return time.perf_counter() - begin, task


def measure_save(name: str, artifacts: dict[str, Any], new_task: NewTask) -> list[Finding]:
    size = pickled_size(artifacts)
    save_once(new_task, WARM_UP)[1].delete()
    memory.settle()
    memory.reset_peak()
    before = memory.resident()
    seconds, task = save_once(new_task, artifacts)
    findings = memory_finding("save", name, size, memory.peak(), before)
    stored = task.stored()
    task.delete()
    timings = [seconds]
    while not enough(timings):
        seconds, task = save_once(new_task, artifacts)
        task.delete()
        timings.append(seconds)
    findings.append(finding("save", name, "time", statistics.median(timings), bytes=size))
    findings.append(finding("save", name, "stored", stored, unit="B", bytes=size))
    return findings


def measure_load(
    name: str, artifacts: dict[str, Any], new_task: NewTask, writer: Writer | None = None
) -> list[Finding]:
    """Measure loads of what `writer` saved, or a fork of this process."""
    warm, full = uuid.uuid4().hex, uuid.uuid4().hex
    if writer:
        writer(name, warm, full)
    else:
        in_fork(partial(save_and_finish, new_task, {warm: WARM_UP, full: artifacts}))
    size = pickled_size(artifacts)
    warm_task, task = new_task(warm), new_task(full)
    warm_task.open()
    warm_task.load()
    warm_task.delete()
    task.open()
    memory.settle()
    memory.reset_peak()
    begin = time.perf_counter()
    loaded = task.load()
    timings = [time.perf_counter() - begin]
    peak = memory.peak()
    memory.settle()
    # What is left is the object: the peak is counted above that.
    findings = memory_finding("load", name, size, peak, memory.resident())
    while not enough(timings):
        del loaded
        begin = time.perf_counter()
        loaded = task.load()
        timings.append(time.perf_counter() - begin)
    findings.append(finding("load", name, "time", statistics.median(timings), bytes=size))
    task.delete()
    return findings


def save_and_finish(new_task: NewTask, tasks: dict[str, dict[str, Any]]) -> list[Finding]:
    for place, artifacts in tasks.items():
        task = new_task(place)
        task.save(artifacts)
        task.finish()
    return []


def save_elsewhere(python: str, root: str, name: str, warm: str, full: str) -> None:
    """Let a process of another tree save what is loaded here. Exits if it failed: it has said
    why."""
    script = str(Path(__file__).with_name("writer.py"))
    told = json.dumps({"root": root, "payload": name, "warm": warm, "full": full})
    if subprocess.run([python, script, told], stdout=subprocess.DEVNULL).returncode:
        sys.exit(1)


def memory_finding(
    workload: str, name: str, size: int, peak: int | None, base: int | None
) -> list[Finding]:
    if peak is None or base is None or size < LEAST_SIZE_OF_PEAK:
        return []
    above = max(0, peak - base)
    return [finding(workload, name, "peak_memory", above, unit="B", bytes=size)]


def work(assignment: dict[str, Any]) -> list[Finding]:
    kind: type[PickleFiles] | type[Task] = PickleFiles
    if not FLOOR:
        import stores  # noqa: F401  once, not in every fork

        kind = Task
    if os.environ.get("PICKLE") == "protocol 5":
        import protocol5

        protocol5.switch_on()
    new_task = partial(kind, assignment["root"])
    measures: dict[str, Callable[..., list[Finding]]] = {
        "save": measure_save,
        "load": measure_load,
    }
    if assignment["writer"]:
        writer = partial(save_elsewhere, assignment["writer"], assignment["root"])
        measures = {"load": partial(measure_load, writer=writer)}
    findings = []
    for name in assignment["payloads"]:
        artifacts = make_artifacts(PAYLOADS[name])
        memory.settle()
        gc.freeze()  # a collection in a fork would copy every page of what is shared
        for workload, measure in measures.items():
            if workload in assignment["workloads"]:
                findings += in_fork(partial(measure, name, artifacts, new_task))
        gc.unfreeze()
    return findings


if __name__ == "__main__":
    run(work)
