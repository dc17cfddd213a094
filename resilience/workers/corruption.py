"""Damaged objects: `corruption.py CORPUS FOLDER CASES STEP` loads so many of each format.

All bits of headers, checksums, metadata and small objects are flipped one by one, and small
objects cut at every byte; what remains of the cases are random flips and cuts of larger ones.
With a STEP of more than 1, only each so-manieth of the former is done.
"""

import json
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from corpus import FORMATS, Sample, blob_path, meta_path, open_store, read_corpus
from tally import READS, Tally, judge

DRAW = random.Random(11)
# Bytes of the header without the blocks, and of the checksum with what comes after them.
HEADER = {"gzip": 10, "LZ4": 15, "raw": 0}
TRAILER = {"gzip": 8, "LZ4": 4, "raw": 0}
# One damaged object: what was done, where, the bytes, and the metadata (None: no file).
Damage = tuple[str, str, bytes, bytes | None]


def flip(data: bytes, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def header_size(family: str, blob: bytes) -> int:
    """With the extra field that gzip may have (RFC 1952, 2.3.1.1)."""
    extra = family == "gzip" and blob[3] & 4
    return HEADER[family] + (2 + int.from_bytes(blob[10:12], "little") if extra else 0)


def trailer_size(family: str, blob: bytes) -> int:
    return len(blob) - lz4_ends(blob)[-1] if family == "LZ4" else TRAILER[family]


def lz4_ends(blob: bytes) -> list[int]:
    """Where the header of a frame, each block, and the mark behind the last one end."""
    ends = [HEADER["LZ4"]]
    while (size := int.from_bytes(blob[ends[-1] : ends[-1] + 4], "little")) != 0:
        ends += [ends[-1] + 4, ends[-1] + 4 + (size & 0x7FFFFFFF)]
    return [*ends, ends[-1] + 4]


def boundaries(family: str, blob: bytes) -> list[int]:
    """Where the header and each block end, as far as the format says."""
    ends = [header_size(family, blob)]
    if family == "LZ4":
        ends = lz4_ends(blob)
        ends.append(ends[-1] + TRAILER["LZ4"])
    elif family == "gzip":
        while ends[-1] + 5 < len(blob) and blob[ends[-1]] in (0, 1):
            size = int.from_bytes(blob[ends[-1] + 1 : ends[-1] + 3], "little")
            if size ^ int.from_bytes(blob[ends[-1] + 3 : ends[-1] + 5], "little") != 0xFFFF:
                break
            ends += [ends[-1] + 5, ends[-1] + 5 + size]
        ends += [len(blob) - 8, len(blob) - 4]
    return [end for end in dict.fromkeys(ends) if 0 < end < len(blob)]


def certain(family: str, one: Sample) -> Iterator[Damage]:
    """What is done to every sample."""
    blob, meta = one.blob, one.meta
    header, trailer = 8 * header_size(family, blob), 8 * (len(blob) - trailer_size(family, blob))
    for bit in range(header):
        yield "bit flip in the header", f"bit {bit}", flip(blob, bit), meta
    for bit in range(trailer, 8 * len(blob)):
        yield "bit flip in the checksum", f"bit {bit} of {8 * len(blob)}", flip(blob, bit), meta
    for bit in range(8 * len(meta)):
        yield "bit flip in the metadata", f"bit {bit} of {meta.decode()}", blob, flip(meta, bit)
    for end in boundaries(family, blob):
        yield "cut at the end of a block", f"{end} of {len(blob)} bytes", blob[:end], meta
    yield "object of no bytes", "", b"", meta
    yield "object of no bytes", "without metadata", b"", None
    yield "no metadata", "", blob, None
    for cut in range(len(meta)):
        yield "metadata cut", f"{cut} bytes", blob, meta[:cut]
    true = json.loads(meta)
    for said in contradictions(true):
        yield "metadata contradicts", json.dumps(said), blob, json.dumps(said).encode()
    if len(blob) < 1000:
        for bit in range(header, trailer):
            yield "bit flip in the body", f"bit {bit} of {8 * len(blob)}", flip(blob, bit), meta
        for end in range(1, len(blob)):
            yield "cut anywhere", f"{end} of {len(blob)} bytes", blob[:end], meta


def contradictions(true: dict[str, object]) -> Iterator[object]:
    """Metadata that is JSON, and not what was written."""
    yield from ([], {}, None, 1, "cas_version", [true])
    versions: tuple[object, ...] = (0, 1, 2, 3, -1, 1.0, "1", "2", None, True, [], {}, 10**30)
    for version in versions:
        for raw in (True, False):
            said = {"cas_raw": raw, "cas_version": version}
            if json.dumps(said) != json.dumps(true):
                yield said


def at_random(family: str, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Damage]]:
    """Flips and cuts, rarely of the large samples, which take long."""
    weights = [1 / len(sample.blob) ** 0.5 for sample in samples]
    while True:
        (one,) = DRAW.choices(samples, weights)
        if DRAW.random() < 0.8:
            end = len(one.blob) - trailer_size(family, one.blob)
            bit = DRAW.randrange(8 * header_size(family, one.blob), 8 * end)
            where = f"bit {bit} of {8 * len(one.blob)}"
            yield one, ("bit flip in the body", where, flip(one.blob, bit), one.meta)
        else:
            end = DRAW.randrange(1, len(one.blob))
            where = f"{end} of {len(one.blob)} bytes"
            yield one, ("cut anywhere", where, one.blob[:end], one.meta)


def main(corpus: Path, folder: Path, least: int, step: int) -> None:
    tally = Tally()
    everything = {format: read_corpus(corpus, format) for format in FORMATS}
    for format, samples in everything.items():
        family = format.partition(",")[0]
        root = folder / format

        def put(sample: Sample, damage: Damage, root: Path = root, format: str = format) -> None:
            fault, where, blob, meta = damage
            path, beside = blob_path(root, sample.key), meta_path(root, sample.key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(blob)
            if meta is None:
                beside.unlink(missing_ok=True)
            else:
                beside.write_bytes(meta)
            found = judge(open_store(root), sample.key, sample.content)
            tally.add(READS, fault, format, found, where)

        others = [one for members in everything.values() for one in members]
        for sample in samples:
            for damage in islice(certain(family, sample), 0, None, step):
                put(sample, damage)
            for other in others:
                if other.content != sample.content:
                    put(sample, ("another object in its place", "", other.blob, other.meta))
                    alone = "without its metadata"
                    put(sample, ("another object in its place", alone, other.blob, sample.meta))
                    appended = sample.blob + other.blob
                    put(sample, ("another object behind it", "", appended, sample.meta))
        done = sum(one.cases for key, one in tally.counts.items() if key[2] == format)
        for sample, damage in islice(at_random(family, samples), max(0, least - done)):
            put(sample, damage)
    tally.print()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
