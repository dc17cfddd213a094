"""Describe payloads: size, entropy, and what lz4 and gzip make of them.

Not a measurement of an arm: facts that say what a payload is like.
"""

import gzip
import pickle
from typing import Any

from payloads import PAYLOADS
from work import Finding, finding, run

# The first 16 MB stand for a payload of hundreds.
MOST = 16_000_000


def entropy(data: bytes) -> float:
    """Shannon entropy of the bytes, in bits: 8 for random ones, 0 for one repeated."""
    import numpy as np

    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    shares = counts[counts > 0] / len(data)
    return float(-(shares * np.log2(shares)).sum())


def label(name: str) -> list[Finding]:
    import lz4.frame

    payload = PAYLOADS[name]
    made = payload.make()
    artifacts = made.values() if payload.many else [made]
    pickled = [pickle.dumps(artifact, protocol=4) for artifact in artifacts]
    size = sum(map(len, pickled))
    samples = [one[:MOST] for one in pickled]
    sampled = sum(map(len, samples))
    # gzip as Metaflow uses it: level 3. lz4 with its default level.
    gzipped = sum(len(gzip.compress(one, 3)) for one in samples) / sampled
    framed = sum(len(lz4.frame.compress(one)) for one in samples) / sampled
    values = {"entropy": entropy(b"".join(samples)), "gzip_ratio": gzipped, "lz4_ratio": framed}
    return [
        finding("payload", name, metric, value, unit="1", bytes=size)
        for metric, value in values.items()
    ]


def work(assignment: dict[str, Any]) -> list[Finding]:
    return [found for name in assignment["payloads"] for found in label(name)]


if __name__ == "__main__":
    run(work)
