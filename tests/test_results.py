"""The result file: what goes in comes out, in full or not at all."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import ROOT

from bench.errors import BenchError
from bench.results import HEADER, Row, append_rows, load_rows, merge_rows

ROW = Row(
    time="2026-01-31T12:00:00Z",
    session="20260131T120000Z-1",
    round=0,
    position=3,
    machine="0123456789ab",
    processor="Processor Ünlimited @ 2.10GHz",
    cores=2,
    memory_gb=23.4,
    system="Linux 6.1",
    python="3.12.3",
    libraries="lz4=4.4.5 numpy=2.1.0",
    release="2.19.38",
    series="-",
    bench="abcdef012345",
    workload="save",
    payload="float64 100 B",
    store="local",
    arm="stock",
    metric="time",
    bytes=260,
    unit="s",
    value=0.1 + 0.2,
)


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    path = tmp_path / "data" / "results.tsv"
    second = dataclasses.replace(ROW, arm="patched+lz4", value=1e-300)
    append_rows(path, [ROW])
    first_bytes = path.read_bytes()
    append_rows(path, [second, ROW])
    assert load_rows(path) == [ROW, second, ROW]
    assert path.read_bytes().startswith(first_bytes)
    assert [entry.name for entry in path.parent.iterdir()] == ["results.tsv"]


def test_merging_adds_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    second, third = (dataclasses.replace(ROW, round=number) for number in (1, 2))
    append_rows(path, [ROW, second])
    before = path.read_bytes()
    assert merge_rows(path, [second, third, third]) == 1
    assert load_rows(path) == [ROW, second, third]
    assert path.read_bytes().startswith(before)
    assert merge_rows(path, [third, ROW]) == 0


def test_the_door_of_merging(tmp_path: Path) -> None:
    path, others = tmp_path / "results.tsv", tmp_path / "others.tsv"
    append_rows(path, [ROW])
    append_rows(others, [ROW, dataclasses.replace(ROW, machine="ba9876543210")])
    command = [sys.executable, ROOT / "scripts" / "merge_results.py", "--results", path]
    for added in ("1 rows added, 1 were there", "0 rows added, 2 were there"):
        done = subprocess.run([*command, others], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(added)
        assert "(ba9876543210)" in done.stdout
    torn = tmp_path / "torn.tsv"
    torn.write_bytes(others.read_bytes()[:-1])
    before = path.read_bytes()
    done = subprocess.run([*command, torn], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("merge_results: ") and done.stderr.count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "no results at"),
        (b"", "is no result file"),
        (b"name\tvalue\n", "is no result file"),
        (b"\x89PNG\r\n", "is no result file"),
        (HEADER.replace("\n", "\r\n").encode(), "is no result file"),
        (HEADER.encode() + b"a\tb\n", "line 2, has 2 cells instead of 22"),
        (HEADER.encode() + b"torn", "line 2, ends too early: delete that line"),
        (HEADER.encode() + b"\xff\n", "line 2, is not UTF-8"),
    ],
)
def test_foreign_and_torn_files_are_refused(
    tmp_path: Path, content: bytes | None, line: str
) -> None:
    path = tmp_path / "results.tsv"
    if content is not None:
        path.write_bytes(content)
        with pytest.raises(BenchError, match=line):
            append_rows(path, [ROW])
        assert path.read_bytes() == content
    with pytest.raises(BenchError, match=line):
        load_rows(path)


@pytest.mark.parametrize(
    ("good", "bad"), [("\t3\t", "\tthree\t"), ("0.30000000000000004", "nan"), ("\t2\t", "\t2.5\t")]
)
def test_cells_of_the_wrong_kind_are_named(tmp_path: Path, good: str, bad: str) -> None:
    path = tmp_path / "results.tsv"
    append_rows(path, [ROW])
    path.write_text(path.read_text().replace(good, bad, 1))
    with pytest.raises(BenchError, match=r"line 2: .*: restore the file"):
        load_rows(path)


@pytest.mark.parametrize("arm", ["a\tb", "a\nb"])
def test_a_row_that_does_not_fit_a_line_is_refused(tmp_path: Path, arm: str) -> None:
    path = tmp_path / "results.tsv"
    with pytest.raises(BenchError):
        append_rows(path, [ROW, dataclasses.replace(ROW, arm=arm)])
    assert not path.exists()


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    append_rows(path, [ROW])
    before = path.read_bytes()
    program = (
        "import resource, sys, pathlib; from bench.results import append_rows, load_rows\n"
        "path = pathlib.Path(sys.argv[1]); rows = load_rows(path) * 50\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "append_rows(path, rows)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True)
    assert b"OSError: [Errno 27]" in done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def append_many(path: Path) -> None:
    for _ in range(20):
        append_rows(path, [ROW, ROW])


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=append_many, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert load_rows(path) == [ROW] * 80


def test_a_kill_leaves_whole_calls(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    append_rows(path, [ROW])
    program = (
        "import sys, pathlib; from bench.results import append_rows, load_rows\n"
        "path = pathlib.Path(sys.argv[1]); rows = load_rows(path) * 50; print(flush=True)\n"
        "while True: append_rows(path, rows)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout
        writer.stdout.readline()
        while len(load_rows(path)) < 200:
            pass
        os.kill(writer.pid, signal.SIGKILL)
    assert (len(load_rows(path)) - 1) % 50 == 0
