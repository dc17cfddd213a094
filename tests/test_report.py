"""The report: from the data alone, the same bytes from the same rows, only between markers."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from observations import observe

from bench.blocks import fill_block
from bench.dependencies import Dependency, dependency_grid, load_dependencies, write_dependencies
from bench.errors import BenchError
from bench.import_times import Box, Import, boxes, write_imports
from bench.newcomer import Step
from bench.plots import COLORS, IMPORTS_PLOT, INK, JOIN_PLOT, PLOTS, Transfer, crossing
from bench.records import write_records
from bench.report import write_report
from bench.results import SWEEP, Row, append_rows
from bench.scale import Scale, write_scale
from bench.study import load_study
from compatibility.results import Cell, Outcome, Way, write_cells
from patchstack.project import Project
from patchstack.series import load_series
from resilience.results import Fault, write_faults

TARGETS = """\
topic\tarm\tworkload\tpayload\tstore\tmetric\tbase\tnumber
cas-lz4\tpatched+lz4\tpack\tmodel weights\t-\ttime\tstock\t9
"""

ROOT = Path(__file__).parents[1]
DOOR = ROOT / "scripts" / "report.py"
COST = Dependency(
    package="lz4",
    version="4.4.5",
    date="2026-01-31",
    processor="Processor @ 2.10GHz",
    python="3.12.3",
    import_seconds=0.0018,
    wheel_bytes=1_368_674,
    platforms="Linux x86-64, macOS arm64",
    floor="3.9",
    oldest="3.6: 3.1.10",
)
TITLES = {topic.name: topic.title for topic in load_series(Project(ROOT)).topics}
README = "# Title\r\n\n<!-- START headline -->\nold\n<!-- END headline -->\nby hand\n" + "".join(
    f"<!-- START {name} -->\n<!-- END {name} -->\n"
    for name in ("topics", "results", "remaining", "newcomer")
)
STEPS = [Step("0123456789ab", "Processor", 2, "Linux", "make test", 61.0)]
PROPOSAL = "".join(
    f"<!-- START {name} -->\n<!-- END {name} -->\n" for name in ("speed", "saves", "chance")
)
STATUS = (
    "<!-- START peers -->\n<!-- END peers -->\n"
    "<!-- START targets -->\n<!-- END targets -->\n"
    "<!-- START costs -->\n<!-- END costs -->\n"
    "<!-- START measurements -->\n<!-- END measurements -->\n"
    "<!-- START dependencies -->\n<!-- END dependencies -->\n"
    "<!-- START compat -->\n<!-- END compat -->\n"
    "<!-- START faults -->\n<!-- END faults -->\n"
    "<!-- START scale -->\n<!-- END scale -->\n"
)
CELL = Cell("1.0", "2.0", Way.CLIENT, "gzip", Outcome.READS, "", "0123456789ab", "3.12.3")
SCALE = [
    Scale("2026-01-31T12:00:00Z", "Processor", "3.12.3", "1.0", arm, "-", tasks, width, *costs)
    for arm in ("stock", "patched")
    for tasks, width, costs in (
        ("real", 2, (0.5, 2.0, 0.1, 100, 10_000)),
        ("real", 20, (0.6, 20.0, 0.2, 1000, 100_000)),
        ("simulated", 100, (1.0, 0.0, 0.3, 0, 0)),
        ("simulated", 300, (3.0, 0.0, 0.5, 0, 0)),
        ("simulated", 1000, (20.0, 0.0, 2.0, 0, 0)),
    )
]
FAULT = Fault("reads", "flip", "stock", "gzip", 1000, 1, 0, "bit 1: Error", "-", "3.12.3")


def all_rows() -> list[Row]:
    """Something for every table and plot."""
    ratios = {"patched": 1.0, "patched+lz4": 0.1, "cas-stored": 0.5}
    rows = observe(ratios, workload="pack", store="-")
    for workload in ("save", "load"):
        rows += observe(ratios, workload=workload, store="tmpfs")
        for payload, size in SWEEP.items():
            cell = {"workload": workload, "payload": payload, "store": "tmpfs", "bytes": size}
            rows += observe(ratios | {"floor": 0.01}, rounds=1, **cell)
    rows += observe(ratios, workload="save", store="tmpfs", metric="stored", unit="B", seconds=8e6)
    rows += observe(
        {"patched": 1.0}, workload="import", payload="with bytecode", bytes=0, store="-"
    )
    for splits in (100, 1_000):
        cell = {"workload": "join", "payload": f"{splits:,} splits", "bytes": 0, "store": "-"}
        rows += observe(ratios, seconds=splits / 1000, **cell)
    asked = {"workload": "flow", "payload": "to S3", "bytes": 0, "store": "s3-20ms"}
    rows += observe(ratios, metric="requests", unit="1", seconds=100, **asked)
    cost = {"workload": "costs", "payload": "hello", "bytes": 0, "store": "tmpfs"}
    rows += observe({"pylint": 3.0}, **cost)
    label = {"workload": "payload", "metric": "entropy", "unit": "1", "value": 7.5}
    rows.append(dataclasses.replace(rows[0], **label))
    return rows


def all_imports() -> list[Import]:
    """Two arms; metaflow imports json, which imports json.decoder, and then metaflow.util."""
    tree = [
        (2, "json.decoder", 3_000, 3_000),
        (1, "json", 2_000, 5_000),
        (1, "metaflow.util", 10_000, 10_000),
        (0, "metaflow", 5_000, 20_000),
    ]
    return [
        Import(arm, "-", "Processor", "3.12.3", *one)
        for arm in ("stock", "patched")
        for one in tree
    ]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the report needs of a checkout."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "patches", root / "patches")
    (root / "README.md").write_bytes(README.encode())
    (root / "status.md").write_bytes(STATUS.encode())
    (root / "data").mkdir()
    (root / "data" / "sha1-proposal.md").write_bytes(PROPOSAL.encode())
    append_rows(root / "data" / "results.tsv", all_rows())
    write_dependencies(root / "data" / "dependencies.tsv", [COST])
    write_imports(root / "data" / "imports.tsv", all_imports())
    write_cells(root / "data" / "compat.tsv", [CELL])
    write_faults(root / "data" / "faults.tsv", [FAULT])
    write_records(root / "data" / "newcomer.tsv", Step, STEPS)
    (root / "data" / "targets.tsv").write_text(TARGETS)
    write_scale(root / "data" / "scale.tsv", SCALE)
    (root / "data" / "study.tsv").write_bytes((ROOT / "data" / "study.tsv").read_bytes())
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()
    }


def run_door(root: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DOOR], cwd=root, capture_output=True, text=True, env=os.environ | env
    )


def test_the_same_rows_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    before = contents(project)
    done = run_door(project, PYTHONHASHSEED="1", TZ="Asia/Tokyo")
    assert (done.returncode, done.stderr) == (0, "")
    first = contents(project)
    assert set(first) - set(before) == {f"data/plots/{name}" for name in (*PLOTS, IMPORTS_PLOT)}
    times = {name: (project / name).stat().st_mtime_ns for name in first}

    settings = tmp_path / "matplotlibrc"
    settings.write_text("lines.linewidth: 9\nsvg.fonttype: none\n")
    done = run_door(project, PYTHONHASHSEED="2", MATPLOTLIBRC=str(settings), LC_ALL="C")
    assert contents(project) == first
    assert {name: (project / name).stat().st_mtime_ns for name in first} == times
    assert "changed" not in done.stdout

    # And from nothing but the data.
    for name in PLOTS:
        (project / "data" / "plots" / name).unlink()
    for name in ("README.md", "status.md"):
        (project / name).write_bytes(before[name])
    write_report(project, TITLES)
    assert contents(project) == first


def test_only_the_lines_between_markers_change(project: Path) -> None:
    write_report(project, TITLES)
    readme = (project / "README.md").read_bytes().decode()
    assert readme.startswith("# Title\r\n\n<!-- START headline -->\n|  | stock | patched | ")
    assert "\nMeasured up to 2026-01-31 on " in readme
    assert "Metaflow 2.19.38; official figures are to come from a Standard_D2s_v5.\n" in readme
    assert "<!-- END headline -->\nby hand\n<!-- START topics -->\n" in readme
    assert "old" not in readme


def test_the_headline_shows_ours_beside_the_study(project: Path) -> None:
    write_report(project, TITLES)
    readme = (project / "README.md").read_text()
    [line] = [line for line in readme.splitlines() if line.startswith("| model weights")]
    assert line.endswith("| 289 ms | 15.8 ms | 18.3x |")
    assert "▲ 9." in line or "▲ 10." in line
    assert "figures, from Azure Standard_D2s_v5, Ubuntu 24.04, Python 3.12." in readme
    status = (project / "status.md").read_text()
    for name in PLOTS:
        assert (f"](data/plots/{name})" in readme) is (name != JOIN_PLOT)
        assert (f"](data/plots/{name})" in status) is (name == JOIN_PLOT)


def test_arms_of_single_topics_are_in_status_alone(project: Path) -> None:
    write_report(project, TITLES)
    assert "| cas-stored |" in (project / "status.md").read_text()
    assert "| cas-stored |" not in (project / "README.md").read_text()


def test_fewer_requests_are_a_gain(project: Path) -> None:
    write_report(project, TITLES)
    status = (project / "status.md").read_text()
    assert "<summary>flow, s3-20ms: requests</summary>" in status
    [line] = [line for line in status.splitlines() if line.startswith("| to S3 |")]
    assert "▲ 9." in line or "▲ 10." in line


def test_a_cost_is_shown_in_a_table_of_its_own(project: Path) -> None:
    write_report(project, TITLES)
    [line] = [
        line
        for line in (project / "status.md").read_text().splitlines()
        if line.startswith("| pylint | hello |")
    ]
    without, with_it, difference = (float(cell.split()[0]) for cell in line.split("|")[3:6])
    assert with_it - without == pytest.approx(difference, abs=2)
    assert "▼ 0.33" in line
    (project / "data" / "results.tsv").unlink()
    append_rows(project / "data" / "results.tsv", observe({"patched": 1.0}))
    write_report(project, TITLES)
    assert 'make bench ARGS="--workload costs"' in (project / "status.md").read_text()


def test_what_was_executed_is_shown_from_the_data_alone(project: Path) -> None:
    write_report(project, TITLES)
    status = (project / "status.md").read_text()
    assert "| 2.0 | ✓ |" in status
    assert "| reads | flip | gzip | 1 of 1,000 |" in status
    readme = (project / "README.md").read_text()
    assert "`make test` 61.0 s (Processor, 2 cores, Linux, commit 0123456789ab)" in readme
    assert re.search(r"pack model weights ▲ (10\.0|9\.\d+)x", readme)
    assert "1 reached.\n\n| topic | arm |" in status


def test_new_rows_change_the_report(project: Path) -> None:
    write_report(project, TITLES)
    append_rows(
        project / "data" / "results.tsv", observe({"new-arm": 0.5}, time="2026-02-01T00:00:00Z")
    )
    changed = write_report(project, TITLES)
    assert changed[Path("status.md")]
    assert "new-arm" in (project / "status.md").read_text()


def test_a_plot_without_rows_goes(project: Path) -> None:
    write_report(project, TITLES)
    (project / "data" / "results.tsv").unlink()
    append_rows(project / "data" / "results.tsv", observe({"patched": 1.0}, workload="import"))
    write_report(project, TITLES)
    left = [plot.name for plot in (project / "data" / "plots").iterdir()]
    assert left == [IMPORTS_PLOT]
    assert "data/plots" not in (project / "README.md").read_text()


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("README.md", "# Title\n", "README.md must have the line <!-- START headline --> once"),
        ("status.md", STATUS + STATUS, "status.md must have the line <!-- START measurements -->"),
        ("data/results.tsv", None, "run make bench"),
        ("data/results.tsv", "a\tb\n", "is no result file"),
        ("data/study.tsv", None, "study.tsv"),
        ("data/study.tsv", "a\tb\n1\t2\n", "study.tsv"),
        ("data/targets.tsv", TARGETS.replace("stock", "us"), "'us' is not a valid Base: restore"),
        ("data/targets.tsv", TARGETS.replace("\t9", "\t0"), "0.0 is no number to reach: restore"),
        ("data/dependencies.tsv", None, "--dependencies"),
        ("data/dependencies.tsv", "a\tb\n", "--dependencies"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    project: Path, file: str, content: str | None, named: str
) -> None:
    if content is None:
        (project / file).unlink()
    else:
        (project / file).write_text(content)
    before = contents(project)
    with pytest.raises(BenchError, match=named):
        write_report(project, TITLES)
    assert contents(project) == before


def test_a_failure_is_one_line(project: Path) -> None:
    (project / "data" / "results.tsv").unlink()
    done = run_door(project)
    assert done.returncode == 1
    assert done.stderr.startswith("report: no results at ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- START x -->\n",
        "<!-- END x -->\n<!-- START x -->\n",
        "<!-- START x -->\n<!-- START x -->\n<!-- END x -->\n",
        "see <!-- START x -->\n<!-- END x -->\n",
    ],
)
def test_markers_must_be_lines_that_are_there_once_and_in_order(text: str) -> None:
    with pytest.raises(BenchError, match=r"page\.md must have the line <!-- START x -->"):
        fill_block(text, "x", "new", Path("page.md"))


def test_the_documents_of_this_project_have_their_markers() -> None:
    made = {"README.md": README, "status.md": STATUS, "data/sha1-proposal.md": PROPOSAL}
    for path, markers in made.items():
        for name in re.findall("START ([a-z-]+)", markers):
            fill_block((ROOT / path).read_text(), name, "", Path(path))


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it, of #rrggbb."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colors_are_legible_on_light_and_on_dark(project: Path) -> None:
    write_report(project, TITLES)
    drawn = {
        color
        for name in PLOTS
        for color in re.findall(r"#[0-9a-f]{6}\b", (project / "data" / "plots" / name).read_text())
    }
    assert INK in drawn
    for color in {*drawn, *COLORS}:
        for page in ("#ffffff", "#0d1117"):
            darker, lighter = sorted((luminance(color), luminance(page)))
            assert (lighter + 0.05) / (darker + 0.05) >= 3, (color, page)


@pytest.mark.parametrize(
    ("one", "other", "bandwidth"),
    [
        (Transfer(0.01, 8e6), Transfer(0.21, 7e6), 5e6),  # quicker and larger
        (Transfer(0.01, 7e6), Transfer(0.21, 8e6), None),  # better in both
        (Transfer(0.01, 8e6), Transfer(0.02, 8e6 - 1000), None),  # as large
    ],
)
def test_arms_cross_where_both_take_as_long(
    one: Transfer, other: Transfer, bandwidth: float | None
) -> None:
    found = crossing(one, other)
    assert found == (pytest.approx(bandwidth) if bandwidth else None)
    if found:
        assert one.until(found) == pytest.approx(other.until(found))
        assert crossing(other, one) == pytest.approx(found)


def test_dependency_costs_come_back_as_they_went_in(tmp_path: Path) -> None:
    path = tmp_path / "data" / "dependencies.tsv"
    write_dependencies(path, [COST, dataclasses.replace(COST, package="isal")])
    assert load_dependencies(path) == [COST, dataclasses.replace(COST, package="isal")]
    [row, _] = dependency_grid(load_dependencies(path)).rows
    assert row == (
        *("lz4", "4.4.5", "Linux x86-64, macOS arm64", "3.9", "3.6: 3.1.10"),
        *("1.37 MB", "1.80 ms"),
    )


def test_the_study_is_as_published() -> None:
    study = load_study(ROOT / "data" / "study.tsv")
    assert [figure.speed_up for figure in study.figures.values()] == [1.6, 7.0, 18.7, 18.3, 12.3]
    for figure in study.figures.values():
        assert figure.gzip_seconds / figure.lz4_seconds == pytest.approx(figure.speed_up, rel=0.025)


def test_a_module_stands_within_what_imported_it() -> None:
    assert boxes(all_imports()[:4]) == [
        Box("json.decoder", 2, pytest.approx(0.0), 0.003),
        Box("json", 1, pytest.approx(0.0), 0.005),
        Box("metaflow.util", 1, pytest.approx(0.005), 0.01),
        Box("metaflow", 0, 0.0, 0.02),
    ]
