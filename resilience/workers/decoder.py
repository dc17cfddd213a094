"""Hypothesis on the decoder: `decoder.py CORPUS FOLDER CASES`, with so many examples a property.

It stops at the first example that breaks a promise, and shows the simplest that does.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from corpus import FORMATS, Sample, blob_path, meta_path, open_store, read_corpus, save
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tally import FINISHED, READS, WRONG, Tally, judge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
# What a reader looks at, with any values.
META = st.dictionaries(st.sampled_from(["cas_raw", "cas_version"]), JSON) | JSON
# Replace so many bytes at a share of the length by others.
EDIT = st.tuples(st.floats(0, 1), st.integers(0, 20), st.binary(max_size=20))


class Broken(Exception):
    """A promise, by one example."""


def edit(blob: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for share, length, new in edits:
        start = int(share * len(blob))
        blob = blob[:start] + new + blob[start + length :]
    return blob


def examine(
    tally: Tally,
    row: tuple[str, str, str],
    examples: int,
    strategy: Any,
    broken: Callable[[Any], str],
) -> None:
    """Count the examples of a strategy that were tried, and the simplest that breaks a promise."""
    count = tally.count(*row)

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def hold(example: Any) -> None:
        count.cases += 1
        if said := broken(example):
            raise Broken(f"{example!r}: {said}")

    try:
        hold()
    except Broken as error:
        count.violations, count.example = 1, str(error)
        count.silent = int(str(error).endswith(WRONG))


def main(corpus: Path, root: Path, examples: int) -> None:
    tally = Tally()
    store = open_store(root)

    def damaged(sample: Sample, blob: bytes, meta: bytes) -> str:
        blob_path(root, sample.key).write_bytes(blob)
        meta_path(root, sample.key).write_bytes(meta)
        said: str = judge(store, sample.key, sample.content)
        return said

    def edited(sample: Sample, edits: list[tuple[float, int, bytes]]) -> str:
        return damaged(sample, edit(sample.blob, edits), sample.meta)

    def described(sample: Sample, meta: object) -> str:
        return damaged(sample, sample.blob, json.dumps(meta).encode())

    def unread(content: bytes) -> str:
        said: str = judge(store, save(store, content), content, FINISHED)
        return said

    for format in FORMATS:
        sample = read_corpus(corpus, format)[0]
        blob_path(root, sample.key).parent.mkdir(parents=True, exist_ok=True)
        if format != "raw":  # has nothing to notice an edit by
            row = READS, "hypothesis: bytes of the object edited", format
            edits = st.lists(EDIT, max_size=5)
            examine(tally, row, examples, edits, partial(edited, sample))
        row = READS, "hypothesis: any JSON as metadata", format
        examine(tally, row, examples // 4, META, partial(described, sample))
        blob_path(root, sample.key).unlink()
        meta_path(root, sample.key).unlink()
    contents = st.binary(max_size=300) | st.builds(
        lambda piece, times: piece * times, st.binary(max_size=100), st.integers(0, 5000)
    )
    row = FINISHED, "hypothesis: any content", "as the arm writes"
    examine(tally, row, examples // 4, contents, unread)
    tally.print()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
