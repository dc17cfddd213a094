"""Real flows over a local store that gzip, LZ4 and raw blobs share."""

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from installed import (
    GZIP,
    LZ4,
    RAW,
    RUN_ID,
    STOCK_REFUSES,
    WITHOUT_LIBRARY,
    Place,
    assert_refused,
    is_lz4,
)


def blobs(place: Place, store: str = ".metaflow") -> list[Path]:
    """The files of all blobs in the store, without those of their metadata."""
    files = (place.folder / store / "StoreFlow" / "data").glob("*/*")
    return [file for file in files if not file.name.endswith("_meta")]


def meta_file(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}_meta")


def kinds(place: Place, store: str = ".metaflow") -> list[dict[str, object]]:
    """The kinds of blobs that the metadata in the store tells of, each once."""
    found = [json.loads(meta_file(blob).read_text()) for blob in blobs(place, store)]
    return [kind for kind in (RAW, GZIP, LZ4) if kind in found]


def card_text(place: Place) -> str:
    """What the newest card of the flow says, which it holds in base64."""
    files = (place.folder / ".metaflow" / "mf.cards").rglob("*.html")
    html = max(files, key=lambda file: file.stat().st_mtime_ns).read_text()
    texts = [base64.b64decode(found) for found in re.findall(r'"([A-Za-z0-9+/]{400,}=*)"', html)]
    return next(text.decode() for text in texts if b'"components"' in text)


def test_an_existing_store_goes_on_with_lz4(stock, patched, patched_lz4, place) -> None:
    first = stock.run(place, fails=True, FAIL_JOIN="1")
    truth = stock.read(place, first)
    assert kinds(place) == [GZIP]

    patched_lz4.flow(place, "resume", *RUN_ID, "--with", "card", codec="lz4")
    assert kinds(place) == [GZIP, LZ4]
    assert "[(1, 300000), (2, 300000)]" in card_text(place)
    # As spin stores what it takes from another store.
    raw = next(blob for blob in blobs(place) if blob.name in truth.by_key("start"))
    raw.write_bytes(gzip.decompress(raw.read_bytes()))
    meta_file(raw).write_text(json.dumps(RAW))

    mixed = patched_lz4.read(place, place.last_run, codec="lz4")
    assert mixed.by_key("start", "each") == truth.by_key("start", "each")
    assert not truth.stored_as_lz4("join")
    assert "report" in mixed.stored_as_lz4("join")
    assert not {"big", "dense", "ys"} & mixed.stored_as_lz4("join")
    assert mixed.values() == patched_lz4.read(place, place.last_run).values()
    assert_refused(stock.read(place, place.last_run), mixed, STOCK_REFUSES)
    assert_refused(patched.read(place, place.last_run), mixed, WITHOUT_LIBRARY)
    assert stock.read(place, first) == truth


def test_lz4_runs_go_on_without_it_and_disturb_nobody(stock, patched_lz4, place) -> None:
    patched_lz4.run(place, codec="lz4", fails=True, FAIL_JOIN="1")
    # Small ones stay gzip: what says whether a run succeeded is among them.
    assert kinds(place) == [GZIP, LZ4]
    patched_lz4.flow(place, "resume", *RUN_ID)
    resumed = patched_lz4.read(place, place.last_run)
    assert {"big", "dense"} <= resumed.stored_as_lz4("start")
    assert {"big", "dense", "part"} <= resumed.stored_as_lz4("each")
    # `dense` is handed on unread; what a task reads, it saves again.
    assert "dense" in resumed.stored_as_lz4("end")
    assert not {"big", "report"} & resumed.stored_as_lz4("end")

    # The same values: a writer skips a key that exists, so the keys must be others.
    truth = stock.read(place, stock.run(place))
    assert resumed.values() == truth.values()
    assert not any(map(is_lz4, truth.by_key()))
    # And the other way round: the LZ4 blobs are not taken for missing, nor replaced.
    before = {blob: blob.stat().st_mtime_ns for blob in blobs(place)}
    again = patched_lz4.read(place, patched_lz4.run(place, codec="lz4"))
    assert again.values() == truth.values()
    assert all(blob.stat().st_mtime_ns == time for blob, time in before.items())


def test_spin_reads_lz4_and_writes_both(patched_lz4, place) -> None:
    """What spin takes from the run is stored raw, what it makes with the codec."""
    run = patched_lz4.run(place, codec="lz4")
    truth = patched_lz4.read(place, run)
    for codec in ("lz4", "gzip"):
        said = patched_lz4.flow(place, "spin", "end", "--persist", codec=codec)
        (spun,) = re.findall(r"\[(\d+/end/\d+) .*Task finished", said)
        read = patched_lz4.read(place, f"StoreFlow/{spun}")
        assert read.values() == truth.values("end")
        assert LZ4 in kinds(place, ".metaflow_spin")
    assert kinds(place, ".metaflow_spin") == [RAW, GZIP, LZ4]
    assert patched_lz4.read(place, run) == truth


def test_without_the_library_gzip_is_written_and_said_once_a_process(stock, patched, place) -> None:
    said = patched.flow(place, "run", *RUN_ID, codec="lz4")
    # The run itself, which writes the parameters, and its five tasks.
    warned = re.findall(r"WARNING: METAFLOW_CAS_CODEC.*" + re.escape(WITHOUT_LIBRARY), said)
    assert len(warned) == 6
    assert kinds(place) == [GZIP]
    read = stock.read(place, place.last_run)
    assert read == patched.read(place, place.last_run)
    assert set(map(len, read.by_key())) == {40}


@pytest.mark.skipif(not shutil.which("lz4"), reason="the lz4 command is not installed")
def test_the_lz4_command_reads_artifacts(patched_lz4, place) -> None:
    patched_lz4.run(place, codec="lz4")
    frames = [blob for blob in blobs(place) if is_lz4(blob.name)]
    assert frames
    for frame in frames:
        content = subprocess.run(["lz4", "-dc", frame], capture_output=True, check=True).stdout
        assert f"{hashlib.sha1(content).hexdigest()}.lz4" == frame.name


def test_lost_metadata_and_damage(patched_lz4, place) -> None:
    run = patched_lz4.run(place, codec="lz4")
    patched_lz4.run(place)
    truth = patched_lz4.read(place, run), patched_lz4.read(place, place.last_run)
    for blob in blobs(place):
        meta_file(blob).unlink()
    assert (patched_lz4.read(place, run), patched_lz4.read(place, place.last_run)) == truth

    for read, damaged in zip(truth, (run, place.last_run), strict=True):
        ((key, _),) = read.steps["start"]["dense"]
        (blob,) = (blob for blob in blobs(place) if blob.name == key)
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
        values = patched_lz4.read(place, damaged).by_key()
        assert key in values[key] and "corrupt or truncated" in values[key]
        assert {k for k, value in values.items() if value != read.by_key()[k]} == {key}
