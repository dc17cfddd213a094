"""The matrix, on real environments: three releases and our arms; and that it can turn red."""

import gzip
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
from sandbox import ROOT

from bench.environments import Environments, Tree
from bench.errors import BenchError
from bench.results import NONE
from compatibility.matrix import Run, judge_error, run_matrix
from compatibility.results import Cell, Outcome, Way, compat_block, load_cells, write_cells
from compatibility.versions import ARMS, release, select_versions
from patchstack.prefix import prefix
from patchstack.project import Project
from patchstack.series import load_series
from patchstack.source import pinned_source

# Those that every Python of the CI runs.
RELEASES = ("2.12.39", "2.15.21", "2.19.38")
ENVIRONMENTS = Environments(ROOT / "build" / "bench" / "environments")


@pytest.fixture(scope="session")
def patched() -> Tree:
    project = Project(ROOT)
    series = load_series(project)
    made = prefix(project, series, pinned_source(project, series.pin), series.topics)
    return Tree(made.tree, made.wheel, made.digest or NONE)


def test_what_we_write_by_default_is_read_wherever_stock_is(patched, tmp_path) -> None:
    versions = select_versions(RELEASES)
    digits = {}

    def count(run: Run) -> None:
        digits[run.writer] = {len(blob.name.partition(".")[0]) for blob in run.blobs().values()}

    cells = run_matrix(versions, patched, ENVIRONMENTS, tmp_path / "matrix", print, count)
    found = {(one.writer, one.format, one.reader, one.way): one.outcome for one in cells}
    # All of seven writers, seven readers and three ways; and LZ4 is written beside gzip.
    assert len(found) == len(cells) == (7 + 1) * 7 * 3
    # One arm has keys of another hash, and readers that do not know it.
    assert digits == {writer: {64 if "blake3" in writer else 40} for writer in digits}
    assert Outcome.WRONG not in found.values()
    ours = [arm.name for arm in ARMS]
    lz4 = "patched+lz4"
    for (writer, format, reader, way), outcome in found.items():
        if writer != lz4:
            assert format == "gzip"
            assert outcome is found["2.19.38", "gzip", reader, way], (writer, reader, way)
        if reader == lz4 or writer not in ours:
            assert outcome is Outcome.READS, (writer, reader, way)
        if format == "LZ4" and reader != lz4:
            assert outcome is Outcome.CLEAR, (writer, reader, way)


def break_blob(run: Run, kind: str, blob: bytes) -> None:
    run.blobs()[kind].write_bytes(blob)


def test_a_broken_blob_turns_its_cells_red_and_no_others(patched, tmp_path) -> None:
    damage = {
        # Whole, and not what was written: no release compares it with its key, we do.
        "2.15.21": gzip.compress(pickle.dumps("something else")),
        "2.19.38": b"neither",
    }

    def spoil(run: Run) -> None:
        if run.writer in damage:
            break_blob(run, "noise", damage[run.writer])

    ours = ARMS[0]
    versions = (*map(release, RELEASES), ours)
    cells = run_matrix(versions, patched, ENVIRONMENTS, tmp_path / "matrix", print, spoil)

    def outcomes(writer: str, format: str, reader: Sequence[str]) -> set[Outcome]:
        found = [one for one in cells if (one.writer, one.format) == (writer, format)]
        return {one.outcome for one in found if one.reader in reader}

    for writer in ("2.12.39", ours.name):
        assert outcomes(writer, "gzip", (*RELEASES, ours.name)) == {Outcome.READS}
    assert outcomes("2.15.21", "gzip", RELEASES) == {Outcome.WRONG}
    assert outcomes("2.15.21", "gzip", [ours.name]) == {Outcome.CLEAR}
    assert outcomes("2.19.38", "unknown", (*RELEASES, ours.name)) == {Outcome.CLEAR}
    # Only the format of the broken blob: the others of that run are read.
    rest = {one.outcome for one in cells if (one.writer, one.format) == ("2.19.38", "gzip")}
    assert rest == {Outcome.READS}
    assert "**WRONG**" in compat_block(cells)
    assert all(str(tmp_path) not in one.error for one in cells)


def test_a_version_that_cannot_run_the_flow_is_named(patched, tmp_path) -> None:
    versions = (release("0.0.1"),)
    with pytest.raises(BenchError, match=r"metaflow==0\.0\.1"):
        run_matrix(versions, patched, ENVIRONMENTS, tmp_path / "matrix", print)
    assert not (tmp_path / "matrix").exists()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("", Outcome.READS),
        ("another value than was written", Outcome.WRONG),
        ("DataException: Could not unpack 'Flow/data/ab/abcd': cut", Outcome.CLEAR),
        ("DataException: you need to update Metaflow to the latest version", Outcome.CLEAR),
        ("BadGzipFile: Not a gzipped file", Outcome.UNCLEAR),
    ],
)
def test_an_error_is_clear_if_it_names_the_object_or_the_remedy(error, outcome) -> None:
    assert judge_error(error, {"noise": Path("store", "data", "ab", "abcd")}) is outcome


def cell(
    writer: str, reader: str, outcome: Outcome, way: Way = Way.CLIENT, error: str = ""
) -> Cell:
    return Cell(writer, reader, way, "gzip", outcome, error, "0123456789ab", "3.11.7")


def test_cells_survive_the_file(tmp_path) -> None:
    cells = [
        cell("1", "2", Outcome.CLEAR, error='"tab\tand "quote"'),
        cell("2", "1", Outcome.READS),
    ]
    write_cells(tmp_path / "data" / "compat.tsv", cells)
    assert load_cells(tmp_path / "data" / "compat.tsv") == cells
    (tmp_path / "data" / "compat.tsv").write_text("other\tcolumns\n")
    with pytest.raises(BenchError, match="make compat"):
        load_cells(tmp_path / "data" / "compat.tsv")


def test_the_table_shows_ways_that_differ_and_joins_writers_that_do_not() -> None:
    cells = [
        cell(writer, reader, Outcome.READS, way)
        for writer in ("1", "2")
        for reader in ("1", "2")
        for way in Way
    ]
    assert "| 1 | ✓ |" in compat_block(cells)
    assert "gzip of 1, 2" in compat_block(cells)
    cells[1] = cell("1", "1", Outcome.UNCLEAR, Way.RESUME, "KeyError: '_graph_info'")
    block = compat_block(cells)
    assert "| 1 | ✓ client, U resume, ✓ mixed | ✓ |" in block
    assert "| fails unclearly | KeyError: '_graph_info' | 1 | gzip of 1 |" in block
