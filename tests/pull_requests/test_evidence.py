"""Only what was measured of today's patches, by today's code, speaks for a topic."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Contributor
from test_gates import TOPIC, patch, series

from bench.arms import ARMS, CONTROLS
from bench.results import Row, append_rows
from bench.session import code_hash
from patchstack.project import Project
from patchstack.series import Series, Topic
from pullrequests.evidence import Evidence, hash_series, read_evidence
from pullrequests.gates import CHECKS, OWN, STATEMENT

ARM = next(arm for arm in ARMS if arm.tree == "cas-lz4")
NAME = TOPIC.model_copy(update={"name": "cas-lz4"})
SERIES = series(patch("metaflow/x.py"), topic=NAME)
ONE = patch("metaflow/y.py")
TODAY = str(hash_series(SERIES, NAME))
ROW = Row(
    time="2026-01-31T12:00:00Z", session="s", round=0, position=0, machine="0123456789ab",
    processor="Processor", cores=2, memory_gb=8.0, system="Linux", python="3.12.3",
    libraries="lz4=4.4.5", release="1.0", series=TODAY, bench=code_hash(), workload="save",
    payload="weights", store="local", arm=ARM.name, metric="time", bytes=8_000_000, unit="s",
    value=0.1,
)  # fmt: skip


def rounds(**columns: str) -> list[Row]:
    """Eight rounds in which the arm is ten times faster than stock, as rows of these columns."""
    rows = []
    for number in range(8):
        for arm, value in [(control, 1.0) for control in CONTROLS] + [(ARM.name, 0.1)]:
            own = {} if arm == ARM.name else {"series": "-", "libraries": "-"}
            row = replace(ROW, arm=arm, round=number, value=value + number / 1000, **own)
            common = {key: columns[key] for key in columns if arm == ARM.name or key == "bench"}
            rows.append(replace(row, **common))  # type: ignore[arg-type]
    return rows


def read(
    folder: Path, rows: Iterable[Row], series: Series = SERIES, topic: Topic = NAME
) -> Evidence:
    (folder / "data").mkdir(exist_ok=True)
    append_rows(folder / "data" / "results.tsv", rows)
    return read_evidence(Project(folder), series, topic)


def test_fresh_rows_are_a_table(tmp_path: Path) -> None:
    evidence = read(tmp_path, rounds())
    assert evidence.findings == ()
    assert "<summary>save, local: time</summary>" in evidence.tables
    assert f"| {ARM.name} |" in evidence.tables and "| ▲ 9." in evidence.tables
    assert "stock-again" not in evidence.tables


@pytest.mark.parametrize(("column", "old"), [("series", "0123456789ab"), ("bench", "ba9876543210")])
def test_stale_rows_are_refused_by_name(tmp_path: Path, column: str, old: str) -> None:
    evidence = read(tmp_path, rounds(**{column: old}))
    assert evidence.tables == ""
    stale = evidence.findings[0]
    assert stale.startswith(f"stale: save by {ARM.name}: series ") and f"{column[:5]}" in stale
    assert old in stale and f"today series {TODAY}, benchmark {code_hash()}" in stale
    # Measured again: the old rows stay in the file, and say nothing any more.
    assert read(tmp_path, rounds()).findings == ()


def test_one_changed_byte_of_a_patch_makes_rows_stale(tmp_path: Path) -> None:
    changed = replace(SERIES, patches={NAME.name: (patch("metaflow/x.py", 2),)})
    assert read(tmp_path, rounds(), changed).tables == ""


def test_the_whole_series_does_not_speak_for_its_last_topic(tmp_path: Path) -> None:
    both = replace(SERIES, topics=(NAME, TOPIC), patches=SERIES.patches | {TOPIC.name: (ONE,)})
    whole = [replace(row, series=str(hash_series(both, TOPIC))) for row in rounds()]
    evidence = read(tmp_path, [replace(row, arm="patched") for row in whole], both, TOPIC)
    assert (evidence.tables, evidence.findings) == ("", (f"no arm measures {TOPIC.name}",))
    assert "bench/arms.py" in evidence.remedy


@pytest.mark.parametrize("needed", [False, True])
def test_what_else_was_measured_is_named(tmp_path: Path, needed: bool) -> None:
    topic = NAME.model_copy(update={"depends_on": (TOPIC.name,) if needed else ()})
    patches = SERIES.patches | {TOPIC.name: (ONE,)}
    both = replace(SERIES, topics=(TOPIC, topic), patches=patches)
    evidence = read(tmp_path, rounds(series=str(hash_series(both, topic))), both, topic)
    assert ("What was measured holds as well: X." in evidence.tables) != needed
    assert "| ▲ 9." in evidence.tables


def test_results_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no results at" in read_evidence(Project(tmp_path), SERIES, NAME).findings[0]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "results.tsv").write_text("what?\n")
    assert "is no result file" in read_evidence(Project(tmp_path), SERIES, NAME).findings[0]


def test_with_every_gate_green_it_is_ready_and_holds_the_tables(contributor: Contributor) -> None:
    contributor.amend(**{"test/unit/test_step.py": "def test_step():\n    assert True\n"})
    # The name of a topic that an arm measures.
    file, folder = contributor.sandbox.project.series_file, contributor.sandbox.project.patches
    file.write_text(file.read_text().replace('"core"', f'"{NAME.name}"'))
    (folder / "core").rename(folder / NAME.name)
    topic = contributor.sandbox.series().topic(NAME.name)
    digest = hash_series(contributor.sandbox.series(), topic)
    folder = contributor.sandbox.root / "data"
    folder.mkdir()
    append_rows(folder / "results.tsv", rounds(series=str(digest)))
    contributor.opens(NAME.name, "--issue", "--submit")
    contributor.github.comment(101, "a-maintainer", "MEMBER")
    out = contributor.opens(NAME.name, "--ready")
    verdicts = {line.split()[1]: line for line in out.splitlines() if line.startswith("ok ")}
    assert set(verdicts) == {*OWN, *CHECKS, STATEMENT}
    assert "1 passed" in verdicts["tests"] and "stock: 3 passed" in verdicts["upstream"]
    pull = contributor.github.pulls[0]
    assert not pull["draft"] and "Fixes #101" in pull["body"]
    body = pull["body"]
    block = body[body.index("<!-- metaflow-perf: gen") : body.index("<!-- metaflow-perf: end")]
    assert "### Measurements" in block and "| ▲ 9." in block
    assert body.count("### Measurements") == 1
