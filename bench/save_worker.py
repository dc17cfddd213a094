"""Time saves of the study's payloads in this process, with the Metaflow that it imports.

Run as a script by `bench.runner`, in the environment of an arm. Prints one JSON object:
the file that `import metaflow` found, and for each payload the seconds of every save and
the bytes stored. Each save goes through the real task datastore to a new local store: a
payload that a store already holds is neither compressed nor written.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from metaflow.datastore.flow_datastore import FlowDataStore
from metaflow.plugins.datastores.local_storage import LocalStorage
from payloads import STUDY

import metaflow

# Enough saves for a median, few enough that gzip of 8 MB does not take minutes.
SECONDS_PER_PAYLOAD = 0.4
MOST_SAVES = 200
LEAST_SAVES = 3


def save_once(payload: object, root: str) -> tuple[float, int]:
    """Seconds of one save into a new store under `root`, and the size of its blob."""
    store = tempfile.mkdtemp(dir=root)
    flow = FlowDataStore("BenchFlow", None, storage_impl=LocalStorage, ds_root=store)
    task = flow.get_task_datastore("1", "start", "1", attempt=0, mode="w")
    task.init_task()
    begin = time.perf_counter()
    task.save_artifacts([("payload", payload)])
    seconds = time.perf_counter() - begin
    blobs = Path(store, "BenchFlow", "data").glob("*/*")
    stored = sum(blob.stat().st_size for blob in blobs if not blob.name.endswith("_meta"))
    shutil.rmtree(store)
    return seconds, stored


def measure(payload: object, root: str) -> tuple[list[float], int]:
    save_once(payload, root)  # imports, allocator and file system warm up
    seconds: list[float] = []
    stored = 0
    while len(seconds) < LEAST_SAVES or (
        sum(seconds) < SECONDS_PER_PAYLOAD and len(seconds) < MOST_SAVES
    ):
        one, stored = save_once(payload, root)
        seconds.append(one)
    return seconds, stored


def main(root: str) -> None:
    results = {}
    for name, make in STUDY.items():
        seconds, stored = measure(make(), root)
        results[name] = {"seconds": seconds, "stored": stored}
    json.dump({"metaflow": metaflow.__file__, "payloads": results}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
