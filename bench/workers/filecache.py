"""What the client's file cache leaves on the disk, and what it takes to look after it."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from metaflow.client import filecache
from metaflow.client.filecache import FileBlobCache, FileCache
from work import Finding, finding, in_fork, run

MEGABYTE = 1024**2
# Of the cache that processes share, in megabytes, and how many each of them adds.
MOST, EACH = 3, 1


def store_in_fork(folder: str, name: str, size: int, most: int) -> float:
    """Let a process put one blob into the cache; returns the seconds that it took."""

    def store() -> list[Finding]:
        begin = time.perf_counter()
        FileBlobCache(FileCache(folder, most), "flow").store_key(name, bytes(size))
        return [finding("filecache", name, "time", time.perf_counter() - begin)]

    return float(in_fork(store)[0]["value"])


def left(processes: int) -> int:
    """Bytes in the cache after so many processes, one after the other."""
    # What is younger is never evicted: as if the processes were hours apart.
    filecache.NEW_FILE_QUARANTINE = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(processes):
            store_in_fork(folder, f"{number:02}", EACH * MEGABYTE, MOST)
        return sum(one.stat().st_size for one in Path(folder).rglob("*") if one.is_file())


def first_store(files: int) -> float:
    """Seconds of a process's first write into a cache that holds so many small files."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            shelf = Path(folder, "flow", f"{number % 256:02x}")
            shelf.mkdir(parents=True, exist_ok=True)
            (shelf / f"{number}.blob").write_bytes(b"small")
        os.sync()
        return store_in_fork(folder, "ff", 1, most=1000)


def work(assignment: dict[str, Any]) -> list[Finding]:
    findings = []
    for name in assignment["payloads"]:
        number = int(name.split()[0].replace(",", ""))
        if name.endswith("processes"):
            stored = left(number)
            findings.append(finding("filecache", name, "stored", stored, unit="B"))
        else:
            findings.append(finding("filecache", name, "time", first_store(number)))
    return findings


if __name__ == "__main__":
    run(work)
