"""Save and load through what others keep Python objects with, beside Metaflow's task datastore.

Timed as in artifacts.py. WITH names a peer; without it, this is Metaflow. Two facts are found by
trying them: whether a second object of the same content takes room of its own, and how many of
`FLIPS` single flipped bits, spread over the largest file, a load notices.
"""

import copy
import importlib
import os
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from artifacts import NewTask, Task, make_artifacts, measure_load, measure_save
from payloads import PAYLOADS
from work import Finding, finding, in_fork, run

FLIPS = 8
# A flip in less hits what holds the object rather than the object.
LEAST_SIZE = 1_000_000


class Peer:
    """A folder in which artifacts are kept by number; what is loaded is the first."""

    # What is imported once, and not in every fork.
    library = "pickle"

    def __init__(self, root: str, name: str) -> None:
        self.folder = Path(root, name)
        self.folder.mkdir(exist_ok=True)

    def write(self, name: str, artifact: Any) -> None:
        raise NotImplementedError

    def read(self, name: str) -> Any:
        raise NotImplementedError

    def save(self, artifacts: dict[str, Any]) -> None:
        for number, artifact in enumerate(artifacts.values()):
            self.write(str(number), artifact)

    def finish(self) -> None:
        pass

    def open(self) -> None:
        pass

    def load(self) -> object:
        return self.read("0")

    def stored(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def delete(self) -> None:
        shutil.rmtree(self.folder)


class Pickle(Peer):
    """Plain pickle to a file."""

    def write(self, name: str, artifact: Any) -> None:
        with Path(self.folder, name).open("wb") as file:
            pickle.dump(artifact, file, protocol=5)

    def read(self, name: str) -> Any:
        with Path(self.folder, name).open("rb") as file:
            return pickle.load(file)


class Joblib(Peer):
    library = "joblib"
    compress: Any = 0

    def write(self, name: str, artifact: Any) -> None:
        import joblib

        joblib.dump(artifact, Path(self.folder, name), compress=self.compress)

    def read(self, name: str) -> Any:
        import joblib

        return joblib.load(Path(self.folder, name))


class JoblibLZ4(Joblib):
    compress = "lz4"


class Dagster(Peer):
    """Its file-system IO manager; what it logs of each file is not wanted."""

    library = "dagster"

    def __init__(self, root: str, name: str) -> None:
        import logging

        from dagster import FilesystemIOManager

        super().__init__(root, name)
        logging.disable(logging.DEBUG)
        factory = FilesystemIOManager(base_dir=str(self.folder))
        self.manager = factory.create_io_manager(_dagster_resources())
        self.contexts = {name: _dagster_contexts(name) for name in ("0", "1")}

    def write(self, name: str, artifact: Any) -> None:
        self.manager.handle_output(self.contexts[name][0], artifact)

    def read(self, name: str) -> Any:
        return self.manager.load_input(self.contexts[name][1])


@cache
def _dagster_resources() -> Any:
    from dagster import build_init_resource_context

    return build_init_resource_context()


@cache
def _dagster_run() -> dict[str, Any]:
    """What all contexts share; to make it takes longer than to save."""
    from dagster import build_output_context

    made = build_output_context(step_key="start", name="0", run_id="1")
    return {"log_manager": made.log, "resources": made.resources}


def _dagster_contexts(name: str) -> tuple[Any, Any]:
    """What Dagster itself makes before it calls an IO manager, to write once and to read."""
    from dagster import InputContext, OutputContext

    written = OutputContext(step_key="start", name=name, run_id="1", **_dagster_run())
    return written, InputContext(upstream_output=written, **_dagster_run())


class Kedro(Peer):
    """Its pickle data set."""

    library = "kedro_datasets.pickle"

    def _data_set(self, name: str) -> Any:
        from kedro_datasets.pickle import PickleDataset

        return PickleDataset(filepath=str(self.folder / name))

    def write(self, name: str, artifact: Any) -> None:
        self._data_set(name).save(artifact)

    def read(self, name: str) -> Any:
        return self._data_set(name).load()


class Prefect(Peer):
    """Its result store on a local file system, in default settings."""

    library = "prefect.results"

    def __init__(self, root: str, name: str) -> None:
        from prefect.filesystems import LocalFileSystem
        from prefect.results import ResultStore

        super().__init__(root, name)
        storage = LocalFileSystem(basepath=str(self.folder))
        self.store = ResultStore(result_storage=storage, cache_result_in_memory=False)

    def write(self, name: str, artifact: Any) -> None:
        self.store.write(obj=artifact, key=name)

    def read(self, name: str) -> Any:
        return self.store.read(name).result


class DiskCache(Peer):
    """Without the limit that would evict what is saved."""

    library = "diskcache"

    def __init__(self, root: str, name: str) -> None:
        import diskcache

        super().__init__(root, name)
        self.cache = diskcache.Cache(str(self.folder), eviction_policy="none", size_limit=2**40)

    def write(self, name: str, artifact: Any) -> None:
        self.cache[name] = artifact

    def read(self, name: str) -> Any:
        return self.cache[name]


PEERS: dict[str, type[Peer]] = {
    "pickle": Pickle,
    "joblib": Joblib,
    "joblib+lz4": JoblibLZ4,
    "Dagster": Dagster,
    "Kedro": Kedro,
    "Prefect": Prefect,
    "diskcache": DiskCache,
}


def find_facts(name: str, artifacts: dict[str, Any], root: str, new_task: NewTask) -> list[Finding]:
    """Shares of 0 to 1: how much of a second copy is not stored, and how many flips are noticed."""
    (artifact,) = artifacts.values()
    size = len(pickle.dumps(artifact, protocol=4))
    task = new_task(uuid.uuid4().hex)
    task.save(artifacts)
    once = task.stored()
    task.delete()
    task = new_task(uuid.uuid4().hex)
    task.save({**artifacts, "again": copy.deepcopy(artifact)})
    saved = max(0.0, 2 - task.stored() / once)
    task.delete()
    task = new_task(uuid.uuid4().hex)
    task.save(artifacts)
    task.finish()
    noticed = count_noticed(task, root)
    task.delete()
    return [
        finding("peers save", name, "deduplicated", saved, unit="1", bytes=size),
        finding("peers load", name, "noticed", noticed, unit="1", bytes=size),
    ]


def count_noticed(task: Any, root: str) -> float:
    """The share of flipped bits that a load does not pass over."""
    task.open()
    right = pickle.dumps(task.load())
    largest = max(
        (file for file in Path(root).rglob("*") if file.is_file()),
        key=lambda file: file.stat().st_size,
    )
    content = largest.read_bytes()
    outcomes = []
    for number in range(FLIPS):
        place = len(content) * (2 * number + 1) // (2 * FLIPS)
        largest.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            passed = pickle.dumps(task.load()) != right
        except Exception:
            passed = False
        outcomes.append(not passed)
    return sum(outcomes) / FLIPS


def rename(findings: list[Finding]) -> list[Finding]:
    """Cells of their own: these rows are not those of the workloads save and load."""
    return [{**one, "workload": f"peers {one['workload']}"} for one in findings]


def work(assignment: dict[str, Any]) -> list[Finding]:
    # Where Prefect would write into the user's home.
    os.environ["PREFECT_HOME"] = tempfile.gettempdir()
    peer = PEERS.get(os.environ.get("WITH", ""))
    importlib.import_module(peer.library if peer else "stores")
    kind: Callable[..., Any] = peer or Task
    root = assignment["root"]
    new_task = partial(kind, root)
    # What the first store of a process makes for all others is made here, not in every fork:
    # Dagster takes a second for it.
    new_task("first").delete()
    measures = {"peers save": measure_save, "peers load": measure_load}
    findings = []
    for name in assignment["payloads"]:
        artifacts = make_artifacts(PAYLOADS[name])
        for workload, measure in measures.items():
            if workload in assignment["workloads"]:
                findings += rename(in_fork(partial(measure, name, artifacts, new_task)))
        if findings[-1]["bytes"] >= LEAST_SIZE:
            findings += in_fork(partial(find_facts, name, artifacts, root, new_task))
    return findings


if __name__ == "__main__":
    run(work)
