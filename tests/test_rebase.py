"""The series on other releases: what every patch is told, and what moving the pin does.

Release 1.1 moves the code of `core`; 1.2 has landed the first patch of `core`, and the
change of `lone` in other words.
"""

import json
import shutil
from pathlib import Path

import pytest
from sandbox import RELEASE, Sandbox, git, make_sdist

from patchstack.errors import ConflictError, SourceError
from patchstack.rebase import Outcome, ReleaseReport, move_pin, try_release
from patchstack.series import Pin


@pytest.fixture(params=["submodule", "sdist"])
def releases(request, make_sandbox, upstream: Path) -> Sandbox:
    """A project that reaches every release of upstream, on each kind of source."""
    sandbox = make_sandbox(request.param)
    if request.param == "sdist":
        for release in ("1.1", "1.2"):
            make_sdist(upstream, sandbox.root / f"build/sdist/metaflow-{release}.tar.gz", release)
    return sandbox


def attempt(sandbox: Sandbox, release: str) -> ReleaseReport:
    return try_release(sandbox.project, sandbox.series(), sandbox.source(), release)


def move(sandbox: Sandbox, release: str) -> Pin:
    report = attempt(sandbox, release)
    return move_pin(sandbox.project, sandbox.series(), sandbox.source(), report, None)


def outcomes(report: ReleaseReport) -> list[tuple[str, Outcome]]:
    return [(one.topic, one.outcome) for one in report.verdicts]


def test_the_pin_itself_is_clean(releases) -> None:
    assert {outcome for _, outcome in outcomes(attempt(releases, RELEASE))} == {Outcome.CLEAN}


def test_moved_code_is_an_offset(releases) -> None:
    report = attempt(releases, "1.1")
    assert outcomes(report) == [
        ("core", Outcome.OFFSET),
        ("core", Outcome.OFFSET),
        ("fast", Outcome.OFFSET),
        ("fast", Outcome.CLEAN),
        ("lone", Outcome.CLEAN),
    ]
    assert report.settled


def test_a_landed_patch_is_told(releases) -> None:
    report = attempt(releases, "1.2")
    assert outcomes(report)[:4] == [
        ("core", Outcome.LANDED),
        ("core", Outcome.OFFSET),
        ("fast", Outcome.OFFSET),
        ("fast", Outcome.CLEAN),
    ]
    # What `lone` adds is in 1.2 in other words, but too short to tell whose it is.
    assert report.verdicts[4].outcome is Outcome.CONFLICTS
    assert not report.settled


def test_a_patch_whose_lines_stand_there_changed_has_landed_modified(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    sandbox.switch("perf/lone")
    lines = "".join(f"telling_constant_{n} = 'value {n}'\n" for n in range(6))
    sandbox.commit("Add constants", {"metaflow/constants.py": lines})
    sandbox.export()
    sandbox.git("checkout", "--quiet", "1.1")
    reviewed = lines.replace("'value 5'", "'reviewed'")
    sandbox.commit("Constants, as reviewed", {"metaflow/constants.py": reviewed})
    sandbox.git("tag", "1.3")
    sandbox.git("checkout", "--quiet", RELEASE)
    verdict = attempt(sandbox, "1.3").verdicts[-1]
    assert (verdict.patch, verdict.outcome) == (
        "0002-Add-constants.patch",
        Outcome.LANDED_MODIFIED,
    )


def test_every_patch_has_a_verdict_past_the_first_conflict(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    sandbox.git("checkout", "--quiet", RELEASE)
    sandbox.commit("Rewrite", {"metaflow/store.py": "def nothing():\n    return 0\n"})
    sandbox.git("tag", "2.0")
    sandbox.git("checkout", "--quiet", RELEASE)
    report = attempt(sandbox, "2.0")
    assert outcomes(report) == [
        ("core", Outcome.CONFLICTS),
        ("core", Outcome.CONFLICTS),
        ("fast", Outcome.CONFLICTS),
        ("fast", Outcome.CLEAN),
        ("lone", Outcome.CLEAN),
    ]
    reject = report.verdicts[0].rejects[0]
    assert reject.path == "metaflow/store.py"
    assert reject.hunk.startswith("hunk 1 (@@ -")


def test_trying_changes_nothing(releases) -> None:
    releases.source()
    attempt(releases, "1.1")  # fetches what there is to fetch
    before = releases.snapshot()
    attempt(releases, "1.1")
    assert releases.snapshot() == before


def test_the_door_prints_a_drift_report_and_json(releases) -> None:
    ended = releases.door("rebase_patches", "--to", "1.1", "--to", "1.2")
    assert ended.code == 1  # 1.2 needs work
    assert "applies with offset" in ended.out
    assert "already landed" in ended.out
    ended = releases.door("rebase_patches", "--to", "1.1", "--json")
    assert ended.code == 0
    (report,) = json.loads(ended.out)
    assert report["release"] == "1.1"
    assert report["patches"][0]["outcome"] == "applies with offset"


def test_moving_the_pin_writes_canonical_patches_and_the_gitlink(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    make = sandbox.root / "build/sdist/metaflow-1.1.tar.gz"
    sha256 = make_sdist(sandbox.tree, make, "1.1")
    pin = move(sandbox, "1.1")
    commit = sandbox.git("rev-parse", "1.1^{commit}")
    assert (pin.release, pin.commit, pin.sdist_sha256) == ("1.1", commit, sha256)
    assert sandbox.series().pin == pin
    assert commit in git(sandbox.root, "ls-files", "--stage", "metaflow")
    assert sandbox.project.series_file.read_text().startswith("# A comment that every tool keeps.")
    sandbox.apply()
    assert not sandbox.export().written  # they were written as export writes them


def test_a_topic_that_landed_leaves_the_series(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    sandbox.git("checkout", "--quiet", "perf/core")
    sandbox.git("checkout", "--quiet", "--detach")
    sandbox.git("tag", "1.4")
    make_sdist(sandbox.tree, sandbox.root / "build/sdist/metaflow-1.4.tar.gz", "1.4")
    move(sandbox, "1.4")
    series = sandbox.series()
    assert [topic.name for topic in series.topics] == ["fast", "lone"]
    assert series.topics[0].depends_on == ()
    assert not list((sandbox.project.patches / "core").glob("*.patch"))


def test_the_pin_stays_where_a_patch_is_stuck(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    before = sandbox.patches()
    with pytest.raises(ConflictError, match=r"the pin stays at 1\.0: mend lone/"):
        move(sandbox, "1.2")
    assert sandbox.patches() == before


def test_an_sdist_does_not_name_its_commit(make_sandbox, upstream) -> None:
    sandbox = make_sandbox("sdist")
    make_sdist(upstream, sandbox.root / "build/sdist/metaflow-1.1.tar.gz", "1.1")
    before = sandbox.patches()
    with pytest.raises(SourceError, match="--commit"):
        move(sandbox, "1.1")
    assert sandbox.patches() == before


def test_a_release_that_cannot_be_had_is_a_row_of_the_report(releases) -> None:
    ended = releases.door("rebase_patches", "--to", "9.9", "--to", "1.1")
    assert ended.code == 1
    assert "metaflow 9.9" in ended.out
    assert "applies with offset" in ended.out
    ended = releases.door("rebase_patches", "--to", "9.9", "--json")
    (report,) = json.loads(ended.out)
    assert report["source"] is None
    assert "9.9" in report["problem"]


def test_a_refused_move_shows_what_is_stuck(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    before = sandbox.patches()
    ended = sandbox.door("rebase_patches", "--to", "1.2", "--write", "--json")
    assert ended.code == 1
    assert ended.err.startswith("rebase_patches: the pin stays at 1.0: mend lone/")
    (report,) = json.loads(ended.out)
    assert report["patches"][4]["rejects"][0]["path"] == "metaflow/crlf.py"
    assert sandbox.patches() == before


def test_the_pin_of_an_unpacked_archive_moves_too(make_sandbox, upstream) -> None:
    """Without a git repository of its own there is no gitlink to move."""
    sandbox = make_sandbox("sdist")
    make_sdist(upstream, sandbox.root / "build/sdist/metaflow-1.1.tar.gz", "1.1")
    commit = git(upstream, "rev-parse", "1.1^{commit}")
    sandbox.opens("rebase_patches", "--to", "1.1", "--write", "--commit", commit)
    assert sandbox.series().pin.commit == commit
    sandbox.opens("apply_patches")
    assert sandbox.check().same


def test_a_patch_of_nothing_but_upstreams_tests_cannot_be_told_from_an_sdist(make_sandbox) -> None:
    author = make_sandbox("submodule", name="author")
    author.switch("perf/lone")
    author.commit("Test more", {"test/unit/test_store.py": ("1 + 1 == 2", "2 + 2 == 4")})
    author.export()
    sandbox = make_sandbox("sdist", applied=False)
    shutil.rmtree(sandbox.project.patches)
    shutil.copytree(author.project.patches, sandbox.project.patches)
    assert outcomes(attempt(sandbox, RELEASE))[-1] == ("lone", Outcome.LEFT_OUT)


@pytest.mark.parametrize("release", ["", "../..", "/etc", "1.1^", "1.1rc1"])
def test_what_is_no_release_is_not_looked_for(sandbox, release) -> None:
    ended = sandbox.door("rebase_patches", "--to", release)
    assert ended.code == 1
    assert "no release: give a number like" in ended.out
    assert "is no release" not in ended.err and "damaged" not in ended.err


def test_what_the_sdist_lacks_is_named_and_keeps_the_pin(make_sandbox, upstream) -> None:
    author = make_sandbox("submodule", name="author")
    author.switch("perf/lone")
    changes = {"docs/store.md": ("kept", "stored"), "metaflow/more.py": "more = 1\n"}
    author.commit("Say more", changes)
    author.export()
    sandbox = make_sandbox("sdist", applied=False)
    shutil.rmtree(sandbox.project.patches)
    shutil.copytree(author.project.patches, sandbox.project.patches)
    make_sdist(upstream, sandbox.root / "build/sdist/metaflow-1.1.tar.gz", "1.1")
    before = sandbox.patches()
    commit = git(upstream, "rev-parse", "1.1^{commit}")
    ended = sandbox.door("rebase_patches", "--to", "1.1", "--write", "--commit", commit)
    assert "docs/store.md: not in the sdist, not tried" in ended.out
    assert "initialize the submodule first" in ended.err
    assert sandbox.patches() == before


def test_nothing_moves_where_the_gitlink_cannot(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    make_sdist(sandbox.tree, sandbox.root / "build/sdist/metaflow-1.1.tar.gz", "1.1")
    before = sandbox.patches()
    (sandbox.root / ".git" / "index.lock").touch()
    ended = sandbox.door("rebase_patches", "--to", "1.1", "--write")
    assert ended.code == 1
    assert "index.lock" in ended.err
    assert sandbox.patches() == before


def test_what_an_earlier_patch_of_the_series_adds_has_not_landed(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    sandbox.switch("perf/lone")
    lines = "".join(f"telling_constant_{n} = 'value {n}'\n" for n in range(6))
    version = {"metaflow/version.py": 'metaflow_version = "1.0+"\n'}
    sandbox.commit("Add constants", {"metaflow/constants.py": lines})
    indented = "if True:\n" + "".join(f"    {line}\n" for line in lines.splitlines())
    sandbox.commit("Indent them", {"metaflow/constants.py": indented} | version)
    sandbox.export()
    report = attempt(sandbox, "1.1")  # which has another line in version.py
    assert outcomes(report)[-2:] == [("lone", Outcome.CLEAN), ("lone", Outcome.CONFLICTS)]


def test_no_line_of_a_table_ends_in_blanks(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    said = sandbox.door("rebase_patches", "--to", "1.2").out + sandbox.opens("apply_patches")
    assert said.splitlines() == [line.rstrip() for line in said.splitlines()]
