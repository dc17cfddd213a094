"""Objects made to exhaust memory: `hostile.py make FOLDER`, where lz4 is; `hostile.py try FOLDER`.

Each is small and unpacks to half a gigabyte, or says that it does. What says how much it holds can
be checked against that; the others must end in an error where there is no such memory.
"""

import gzip
import hashlib
import io
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from corpus import blob_path, meta_path, open_store
from processes import in_child
from tally import BOUNDED, READS, Tally, judge

SIZE = 512 * 2**20
# LZ4 unpacks to 255 times what a reader looks at before it can compare; it is there twice then.
ALLOWED = 192 * 2**20
CONTENT = bytes(2**20)
KEY = hashlib.sha1(b"hostile").hexdigest()


def make_gzip() -> bytes:
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", compresslevel=9) as file:
        for _ in range(SIZE // len(CONTENT)):
            file.write(CONTENT)
    return made.getvalue()


def make_lz4(claim: int | None) -> bytes:
    """A frame of zeros whose header says `claim` bytes; None: nothing."""
    import lz4.frame

    def start(size: int) -> tuple[lz4.frame.LZ4FrameCompressor, bytes]:
        frame = lz4.frame.LZ4FrameCompressor(content_checksum=True, block_linked=False)
        return frame, frame.begin(source_size=size)

    frame, header = start(0)
    blocks = b"".join(frame.compress(CONTENT) for _ in range(SIZE // len(CONTENT)))
    made: bytes = (header if claim is None else start(claim)[1]) + blocks + frame.flush()
    return made


def make(folder: Path) -> None:
    packed = make_gzip()
    (folder / "gzip, is honest").write_bytes(packed)
    (folder / "gzip, claims less").write_bytes(packed[:-4] + (1000).to_bytes(4, "little"))
    (folder / "LZ4, is honest").write_bytes(make_lz4(SIZE))
    (folder / "LZ4, claims less").write_bytes(make_lz4(1000))
    (folder / "LZ4, claims more").write_bytes(make_lz4(10**12))
    (folder / "LZ4, claims nothing").write_bytes(make_lz4(None))


def attempt(root: Path, limit: int | None) -> str:
    """How reading goes; in a child. With `limit`, there is so much more memory than now."""
    if limit is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    broken = judge(open_store(root), KEY, b"")
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return json.dumps([broken, peak])


def cases(folder: Path) -> Iterator[tuple[str, str, Path]]:
    for path in sorted(folder.iterdir()):
        format, _, kind = path.name.partition(", ")
        yield format, kind, path


def main(folder: Path, root: Path) -> None:
    tally = Tally()
    if not Path("/proc/self/statm").exists():
        tally.skip(READS, "bomb", "gzip", "needs /proc")
    else:
        for format, kind, path in cases(folder):
            blob_path(root, KEY).parent.mkdir(parents=True, exist_ok=True)
            blob_path(root, KEY).write_bytes(path.read_bytes())
            version = 2 if format == "LZ4" else 1
            meta_path(root, KEY).write_text(json.dumps({"cas_raw": False, "cas_version": version}))
            broken, _ = json.loads(in_child(lambda: attempt(root, SIZE // 4)))
            tally.add(READS, f"bomb that {kind}: memory ends", format, broken)
            if kind == "claims less":
                _, peak = json.loads(in_child(lambda: attempt(root, None)))
                over = f"{peak // 2**20} MB for an object that says 1000 B"
                tally.add(BOUNDED, f"bomb that {kind}", format, over if peak > ALLOWED else "")
    tally.print()


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[2]), Path(sys.argv[3]))
