"""Two result files: the verdicts, what may not be compared, and the exit code for CI."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from observations import observe

from bench.results import Row, append_rows

DOOR = Path(__file__).parents[1] / "scripts" / "compare.py"


def compare(folder: Path, before: list[Row], after: list[Row]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the door."""
    append_rows(folder / "before.tsv", before)
    append_rows(folder / "after.tsv", after)
    done = subprocess.run(
        [sys.executable, DOOR, "before.tsv", "after.tsv"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"COLUMNS": "120"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("ratio", "verdict", "code"),
    [(0.5, "no difference", 0), (0.4, "faster", 0), (0.6, "slower", 1)],
)
def test_the_exit_code_says_if_anything_is_slower(
    tmp_path: Path, ratio: float, verdict: str, code: int
) -> None:
    before = observe({"patched": 0.5, "patched+lz4": 0.1}, seed=1)
    after = observe({"patched": ratio, "patched+lz4": 0.1}, seed=2, session="2", seconds=0.15)
    returncode, out, err = compare(tmp_path, before, after)
    assert (returncode, err) == (code, "")
    lines = {line.split()[2]: line for line in out.splitlines() if line.startswith("model weights")}
    assert lines["patched"].endswith(verdict)
    assert lines["patched+lz4"].endswith("no difference")


def test_larger_is_worse(tmp_path: Path) -> None:
    before, after = (
        observe({"patched": ratio}, spread=0, session=session, metric="stored", unit="B")
        for session, ratio in (("1", 1.0), ("2", 1.1))
    )
    code, out, _ = compare(tmp_path, before, after)
    assert code == 1
    assert "larger" in out


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"processor": "Other Processor"}, "Other Processor"),
        ({"machine": "ffffffffffff"}, "ffffffffffff"),
        ({"python": "3.13.0"}, "Python 3.13.0"),
        ({"release": "2.19.39"}, "Metaflow 2.19.39"),
        ({"bench": "000000000000"}, "not compared, its benchmark code differs: save"),
        ({"workload": "load"}, "nothing to compare"),
    ],
)
def test_files_that_cannot_be_compared_are_refused(
    tmp_path: Path, columns: dict[str, str], named: str
) -> None:
    code, out, err = compare(tmp_path, observe({"patched": 1}), observe({"patched": 1}, **columns))
    assert (code, out) == (1, "")
    assert named in err
    assert err.count("\n") == 1


def test_what_else_differs_is_named(tmp_path: Path) -> None:
    before = observe({"patched": 1.0}) + observe({"patched": 1.0}, machine="ffffffffffff")
    after = observe({"patched": 1.0}, seed=2, libraries="numpy=2.2.0")
    code, out, _ = compare(tmp_path, before, after)
    assert code == 0
    assert "numpy=2.1.0 -> benchmark abcdef012345, series 5e41e5000001, numpy=2.2.0" in out
    assert "left out of the first file" in out
    assert "ffffffffffff" in out


def test_a_file_that_was_added_to_is_compared_by_what_was_added(tmp_path: Path) -> None:
    before = observe({"patched": 1.0})
    after = before + observe({"patched": 1.2}, seed=2, session="2")
    code, out, _ = compare(tmp_path, before, after)
    assert code == 1
    [gain] = re.findall(r"(\S+)x \[", out)
    assert float(gain) == pytest.approx(1 / 1.2, rel=0.02)


def test_a_copy_makes_no_difference(tmp_path: Path) -> None:
    rows = observe({"patched": 1.5})
    assert compare(tmp_path, rows, rows)[0] == 0


@pytest.mark.parametrize("content", [None, "a\tb\n"])
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "before.tsv").write_text(content)
    done = subprocess.run(
        [sys.executable, DOOR, "before.tsv", "before.tsv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("compare: ")
    assert done.stderr.count("\n") == 1
