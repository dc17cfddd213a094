"""Time one hash function over the pickled payloads: what a content key costs.

The environment names it: HASH=SHA-1 (what Metaflow's store uses), and so on. BLAKE3 also takes
THREADS: a number, for which the library makes a pool for each hash, or `all`, for which it keeps
one in the process.
"""

import hashlib
import os
import pickle
import statistics
import time
from collections.abc import Callable
from typing import Any

from payloads import PAYLOADS
from work import Finding, finding, run

SECONDS = 0.1
MOST = 1000
LEAST = 5


def _blake3(data: bytes) -> object:
    from blake3 import blake3

    threads = os.environ.get("THREADS", "1")
    return blake3(data, max_threads=blake3.AUTO if threads == "all" else int(threads)).digest()


def _xxh3_64(data: bytes) -> object:
    import xxhash

    return xxhash.xxh3_64(data).digest()


def _xxh3_128(data: bytes) -> object:
    import xxhash

    return xxhash.xxh3_128(data).digest()


HASHES: dict[str, Callable[[bytes], object]] = {
    "SHA-1": lambda data: hashlib.sha1(data).digest(),
    "SHA-256": lambda data: hashlib.sha256(data).digest(),
    "BLAKE2b": lambda data: hashlib.blake2b(data).digest(),
    "BLAKE3": _blake3,
    "XXH3-64": _xxh3_64,
    "XXH3-128": _xxh3_128,
}


def measure(digest: Callable[[bytes], object], data: bytes) -> float:
    """Median seconds of one hash of `data`."""
    digest(data)
    timings: list[float] = []
    while len(timings) < LEAST or (sum(timings) < SECONDS and len(timings) < MOST):
        begin = time.perf_counter()
        digest(data)
        timings.append(time.perf_counter() - begin)
    return statistics.median(timings)


def work(assignment: dict[str, Any]) -> list[Finding]:
    digest = HASHES[os.environ["HASH"]]
    findings = []
    for name in assignment["payloads"]:
        data = pickle.dumps(PAYLOADS[name].make(), protocol=4)
        seconds = measure(digest, data)
        findings.append(finding("hash", name, "time", seconds, bytes=len(data)))
    return findings


if __name__ == "__main__":
    run(work)
