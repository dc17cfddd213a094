"""Coverage-guided fuzzing of the decoders: `fuzz.py CORPUS FOLDER SECONDS`.

There is no content to compare with, so the oracle is the reader of the format's own library: what
Metaflow reads must be what that reads, and of gzip it must also refuse what that refuses.
"""

import gzip
import io
import re
import subprocess
import sys
from pathlib import Path

MOST = 4096  # bytes of an input


def fuzz(format: str, seeds: Path, found: Path, seconds: str) -> None:
    """In a process of its own, for libFuzzer ends it. Violations are lines of `found`."""
    import atheris

    decoders = ["metaflow.datastore.content_addressed_store", "metaflow.datastore.gzip_blob"]
    with atheris.instrument_imports(include=decoders):
        import metaflow.datastore.content_addressed_store  # noqa: F401
    from corpus import open_store  # only now, for it imports Metaflow

    store = open_store(seeds)

    def oracle(data: bytes) -> bytes | None:
        try:
            if format == "gzip":
                return gzip.GzipFile(fileobj=io.BytesIO(data)).read()
            import lz4.frame

            read: bytes = lz4.frame.decompress(data)
            return read
        except Exception:
            return None

    def ours(data: bytes) -> bytes | None:
        stream = io.BufferedReader(io.BytesIO(data))
        try:
            read: bytes = (store._unpack_v1 if format == "gzip" else store._unpack_v2)(stream)
            return read
        except Exception:
            return None

    def once(data: bytes) -> None:
        read, expected = ours(data), oracle(data)
        strict = format == "gzip" or read is not None
        if strict and read != expected:
            with found.open("a") as file:
                file.write(f"{data!r}\n")

    options = [f"-max_total_time={seconds}", f"-max_len={MOST}", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *options, str(seeds)], once)
    atheris.Fuzz()


def main(corpus: Path, folder: Path, seconds: str) -> None:
    from corpus import read_corpus
    from tally import AGREES, Tally

    tally = Tally()
    for format in ("gzip", "LZ4"):
        fault = f"fuzzed for {seconds} s"
        if format == "LZ4" and not _has_lz4():
            continue
        seeds, found = folder / format, folder / f"{format}.found"
        seeds.mkdir()
        for number, sample in enumerate(read_corpus(corpus, format)):
            if len(sample.blob) <= MOST:
                (seeds / str(number)).write_bytes(sample.blob)
        command = [sys.executable, __file__, "--child", format, str(seeds), str(found), seconds]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        runs = re.search(r"Done (\d+) runs", done.stderr)
        count = tally.count(AGREES, fault, format)
        if runs is None:
            count.example = f"skipped: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"
            continue
        lines = found.read_text().splitlines() if found.exists() else []
        count.cases, count.violations = int(runs[1]), len(lines)
        count.example = lines[0] if lines else ""
    tally.print()


def _has_lz4() -> bool:
    try:
        import lz4.frame  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        fuzz(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
