"""Contents, as an arm stores them: `corpus.py FOLDER FORMAT` writes the samples of a format.

A sample is three files: its content, and the stored object and its metadata as Metaflow wrote them.
"""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metaflow.datastore.content_addressed_store import ContentAddressedStore
from metaflow.plugins.datastores.local_storage import LocalStorage

DRAW = random.Random(7)


def noise(size: int) -> bytes:
    return DRAW.getrandbits(8 * size).to_bytes(size, "big")


def text(size: int) -> bytes:
    words = [b"%x" % DRAW.getrandbits(24) for _ in range(500)]
    return b" ".join(DRAW.choice(words) for _ in range(size // 6))[:size]


# Small ones, of which every bit can be flipped, and the least that make an arm encode in its way;
# 2.2 MB are three blocks of LZ4, 140 KB three stored blocks of deflate.
CONTENTS = {
    "gzip": (text(300), text(20_000)),
    # Two of the same size: nothing but what they hold tells them apart.
    "gzip, stored": (noise(140_000), noise(140_000)),
    "gzip, isal": (text(20_000), text(60_000)),
    "LZ4": (text(300), text(20_000), noise(2_200_000)),
    "raw": (text(300), text(20_000)),
}
FORMATS = tuple(CONTENTS)


@dataclass(frozen=True)
class Sample:
    content: bytes
    blob: bytes
    meta: bytes
    key: str


def open_store(root: Path) -> ContentAddressedStore:
    return ContentAddressedStore("data", LocalStorage(str(root)))


def blob_path(root: Path, key: str) -> Path:
    return root / "data" / key[:2] / key


def meta_path(root: Path, key: str) -> Path:
    return blob_path(root, key + "_meta")


def load(store: ContentAddressedStore, key: str) -> bytes:
    content: bytes = dict(store.load_blobs([key]))[key]
    return content


def save(store: ContentAddressedStore, content: bytes, raw: bool = False) -> str:
    key: str = store.save_blobs(iter([content]), raw=raw)[0].key
    return key


def write_corpus(folder: Path, format: str) -> None:
    root = folder / format
    for number, content in enumerate(CONTENTS[format]):
        key = save(open_store(root), content, raw=format == "raw")
        if not meta_path(root, key).exists():
            # local-files leaves out what others write, and what it is to be read with as well
            meta_path(root, key).write_text(json.dumps({"cas_raw": False, "cas_version": 1}))
        (root / f"{number}.content").write_bytes(content)
        (root / f"{number}.key").write_text(key)


def read_corpus(folder: Path, format: str) -> Sequence[Sample]:
    root = folder / format
    samples = []
    for number in range(len(CONTENTS[format])):
        key = (root / f"{number}.key").read_text()
        content = (root / f"{number}.content").read_bytes()
        files = blob_path(root, key).read_bytes(), meta_path(root, key).read_bytes()
        samples.append(Sample(content, *files, key))
    return samples


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]), sys.argv[2])
