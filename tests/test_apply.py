"""What apply builds, when it refuses, and that it changes nothing where nothing has to."""

import re
import shutil

import pytest
from sandbox import (
    BRANCHES,
    USER,
    Sandbox,
    git,
)

from patchstack.apply import branch_commit
from patchstack.errors import UnsavedWorkError

MINE = {"metaflow/mine.py": "mine = 1\n"}


# What it builds.


def test_author_date_and_message_are_those_of_the_patches(sandbox) -> None:
    fields = "%an|%ae|%aI|%B"
    assert sandbox.log("perf/core", fields) == [
        f"{USER}|zoe@example.org|2024-02-03T04:05:06+05:30|Add the faster step 2",
        "Ünlü, Jörg|jörg@example.org|2023-12-31T23:59:58-03:30|"
        "[core] Keep step 9 exact\n\nWhy: größer is not\nalways better.\n\n- one\n- two",
    ]


def test_files_are_changed_as_bytes(sandbox) -> None:
    """CRLF stays CRLF, and names and contents need not be ASCII."""
    assert (
        sandbox.file("perf/lone", "metaflow/crlf.py")
        == b"first = 1\r\nsecond = 22\r\nthird = 3\r\n"
    )
    assert sandbox.file("perf/lone", "metaflow/größe.py") == "größe = 1\nMaß = 2\n".encode()


@pytest.mark.parametrize("kind", ["submodule", "sdist"])
def test_two_machines_give_identical_commits(make_sandbox, kind) -> None:
    here = make_sandbox(kind, applied=False, name="here")
    there = make_sandbox(kind, applied=False, name="there")
    here.opens("apply_patches")
    names = {f"GIT_{role}_NAME": "Somebody Else" for role in ("AUTHOR", "COMMITTER")}
    dates = {f"GIT_{role}_DATE": "2001-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")}
    there.opens("apply_patches", **names, **dates, LANG="de_DE.UTF-8", TZ="Asia/Tokyo")
    assert tuple(sorted(here.branches())) == BRANCHES
    assert here.branches() == there.branches()


def test_both_sources_give_the_same_patched_files(submodule, sdist) -> None:
    """All but what the sdist does not have."""

    def tree(sandbox: Sandbox) -> set[str]:
        lines = sandbox.git("ls-tree", "-r", "perf/series").splitlines()
        return {line for line in lines if not re.search(r"\t(docs/|test/unit/test_store)", line)}

    assert tree(submodule) == tree(sdist)
    assert any("test/unit/test_fast.py" in line for line in tree(sdist))


def test_the_branch_of_a_topic_and_of_the_series_by_name(submodule) -> None:
    series, source = submodule.series(), submodule.source()
    branches = submodule.branches()
    assert branch_commit(series, source, "fast") == branches["perf/fast"]
    assert branch_commit(series, source, None) == branches["perf/series"]
    submodule.git("branch", "--quiet", "-D", "perf/fast")
    with pytest.raises(UnsavedWorkError, match="run make apply"):
        branch_commit(series, source, "fast")


def test_a_series_without_topics_is_upstream_itself(sandbox) -> None:
    for topic in ("fast", "core", "lone"):
        sandbox.remove_topic(topic)
    sandbox.opens("apply_patches")
    assert sandbox.branches() == {"perf/series": sandbox.base}


def test_a_shallow_submodule(make_sandbox, upstream) -> None:
    sandbox = make_sandbox("submodule")
    expected = sandbox.branches()
    shallow = make_sandbox("submodule", applied=False, name="shallow")
    pinned = git(upstream, "rev-parse", "1.0")
    git(shallow.root, "submodule", "--quiet", "deinit", "--force", "metaflow")
    shutil.rmtree(shallow.root / ".git" / "modules")
    git(shallow.root, "init", "--quiet", "metaflow")
    shallow.git("fetch", "--quiet", "--depth=1", upstream.as_uri(), pinned)
    shallow.git("checkout", "--quiet", "--detach", pinned)
    assert shallow.git("rev-parse", "--is-shallow-repository") == "true"
    shallow.opens("apply_patches")
    assert shallow.branches() == expected
    shallow.switch("perf/core")
    shallow.commit("Mine", MINE)
    shallow.opens("export_patches")
    assert shallow.subjects("core")[-1] == "Mine"


# Nothing to do.


def test_applying_an_applied_series_changes_nothing(sandbox) -> None:
    before = sandbox.snapshot()
    said = sandbox.opens("apply_patches")
    assert said.count("up to date") == len(BRANCHES)
    assert sandbox.snapshot() == before


def test_branches_are_told_in_the_order_of_the_series(submodule) -> None:
    at_rest = [state.branch for state in submodule.apply().states]
    submodule.git("branch", "-D", "perf/core")
    assert [state.branch for state in submodule.apply().states] == at_rest
    assert at_rest == ["perf/series", *(topic.branch for topic in submodule.series().topics)]


def test_commits_that_patches_hold_stay_as_the_contributor_made_them(sandbox) -> None:
    sandbox.switch("perf/lone")
    mine = sandbox.commit("Mine", MINE)
    sandbox.export()
    sandbox.apply()
    assert sandbox.branches()["perf/lone"] == mine
    assert sandbox.log("perf/lone", "%cn")[-1] == USER


def test_check_of_an_applied_series_changes_nothing(sandbox) -> None:
    before = sandbox.snapshot()
    sandbox.opens("apply_patches", "--check")
    assert sandbox.snapshot() == before


def change_a_patch(sandbox: Sandbox) -> None:
    file = next((sandbox.project.patches / "core").glob("0002-*"))
    file.write_bytes(
        file.read_bytes().replace(b"+    return value + 9.0", b"+    return 9 + value")
    )


def move_a_branch(sandbox: Sandbox) -> None:
    sandbox.switch("perf/lone")
    sandbox.commit("Mine", MINE)


def delete_a_branch(sandbox: Sandbox) -> None:
    sandbox.git("branch", "--quiet", "-D", "perf/lone")


def remove_a_topic(sandbox: Sandbox) -> None:
    sandbox.remove_topic("lone")


@pytest.mark.parametrize("change", [change_a_patch, move_a_branch, delete_a_branch, remove_a_topic])
def test_check_finds_a_difference_and_changes_nothing(submodule, change) -> None:
    change(submodule)
    before = submodule.snapshot()
    ended = submodule.door("apply_patches", "--check")
    assert ended.code == 1
    assert re.search("differs|missing|no longer in the series", ended.out)
    assert ended.err == ""
    assert submodule.snapshot() == before


def test_check_of_a_series_never_applied(make_sandbox) -> None:
    sandbox = make_sandbox("submodule", applied=False)
    before = sandbox.snapshot()
    ended = sandbox.door("apply_patches", "--check")
    assert ended.code == 1
    assert ended.out.count("missing") == len(BRANCHES)
    assert sandbox.snapshot() == before


# Uncommitted work.


def edit_tracked(sandbox: Sandbox) -> str:
    (sandbox.tree / "setup.py").write_bytes(b"changed\n")
    return "setup.py"


def add_untracked(sandbox: Sandbox) -> str:
    (sandbox.tree / "metaflow" / "mine.py").write_bytes(b"mine = 1\n")
    return "metaflow/mine.py"


def stage(sandbox: Sandbox) -> str:
    name = add_untracked(sandbox)
    sandbox.git("add", name)
    return name


def name_it_in_german(sandbox: Sandbox) -> str:
    (sandbox.tree / "Maß.py").write_bytes(b"1\n")
    return "Maß.py"


@pytest.mark.parametrize("change", [edit_tracked, add_untracked, stage, name_it_in_german])
def test_uncommitted_work_is_refused(sandbox, change) -> None:
    name = change(sandbox)
    before = sandbox.snapshot()
    line = sandbox.refused("apply_patches")
    assert "uncommitted changes" in line
    assert name in line
    assert sandbox.snapshot() == before
    sandbox.follow(line, "git -C")
    sandbox.opens("apply_patches")
    sandbox.git("stash", "pop", "--quiet", "--index")
    assert (sandbox.tree / name).is_file()


def test_uncommitted_work_is_a_difference_to_the_series(sandbox) -> None:
    edit_tracked(sandbox)
    assert "uncommitted changes" in sandbox.refused("apply_patches", "--check")


def test_uncommitted_work_in_another_work_tree_is_refused(submodule, tmp_path) -> None:
    submodule.git("worktree", "add", "--quiet", str(tmp_path / "second tree"), "perf/lone")
    (tmp_path / "second tree" / "setup.py").write_bytes(b"changed\n")
    line = submodule.refused("apply_patches")
    assert "second tree" in line
    assert "setup.py" in line


def test_a_work_tree_that_was_removed_is_nobodys(submodule, tmp_path) -> None:
    submodule.git("worktree", "add", "--quiet", str(tmp_path / "gone"), "perf/lone")
    shutil.rmtree(tmp_path / "gone")
    submodule.opens("apply_patches")


# Commits that no patch holds.


def test_unexported_commits_are_refused(sandbox) -> None:
    sandbox.switch("perf/core")
    mine = sandbox.commit("Größe of mine", MINE)
    before = sandbox.snapshot()
    line = sandbox.refused("apply_patches")
    assert f"{mine[:7]} Größe of mine" in line
    assert "perf/core" in line
    assert "Keep step 9" not in line
    assert sandbox.snapshot() == before
    sandbox.follow(line, "make export")
    sandbox.opens("apply_patches")
    assert sandbox.branches()["perf/core"] == mine


def test_unexported_commits_can_be_dropped(submodule) -> None:
    before = submodule.branches()
    submodule.switch("perf/core")
    submodule.commit("Mine", MINE)
    submodule.leave()
    line = submodule.refused("apply_patches")
    submodule.follow(line, "git -C")
    submodule.opens("apply_patches")
    assert submodule.branches() == before


def test_an_unexported_merge_is_refused(submodule) -> None:
    submodule.switch("perf/core")
    submodule.git("merge", "--quiet", "--no-edit", "perf/lone")
    assert "Merge branch 'perf/lone'" in submodule.refused("apply_patches")


def test_an_amended_commit_is_refused(submodule) -> None:
    """It is no longer a descendant of what apply made, but holds work all the same."""
    submodule.switch("perf/lone")
    submodule.commit("Ändere Größen anders", MINE, "--amend")
    assert "Ändere Größen anders" in submodule.refused("apply_patches")


def test_a_branch_of_that_name_that_apply_did_not_make(make_sandbox) -> None:
    sandbox = make_sandbox("submodule", applied=False)
    sandbox.git("switch", "--quiet", "--create", "perf/lone")
    sandbox.commit("Mine", MINE)
    before = sandbox.refs()
    assert "Mine" in sandbox.refused("apply_patches")
    assert sandbox.refs() == before


def test_a_branch_not_based_on_upstream(submodule) -> None:
    submodule.git("switch", "--quiet", "--orphan", "other")
    submodule.commit("Root", MINE)
    submodule.git("branch", "--force", "perf/lone")
    submodule.leave()
    assert "not based on upstream" in submodule.refused("apply_patches")


# Branches in use.


def test_a_checked_out_branch_that_has_to_move_is_refused(sandbox) -> None:
    sandbox.switch("perf/core")
    change_a_patch(sandbox)
    before = sandbox.state()
    line = sandbox.refused("apply_patches")
    assert "perf/core" in line
    assert sandbox.state() == before
    sandbox.follow(line, "git -C")
    sandbox.opens("apply_patches")
    assert b"return 9 + value" in sandbox.file("perf/core", "metaflow/store.py")


def test_a_branch_checked_out_in_another_work_tree(submodule, tmp_path) -> None:
    submodule.git("worktree", "add", "--quiet", str(tmp_path / "second tree"), "perf/core")
    change_a_patch(submodule)
    assert "second tree" in submodule.refused("apply_patches")


def test_a_checked_out_branch_that_stays_does_not_hinder(submodule) -> None:
    submodule.switch("perf/lone")
    change_a_patch(submodule)
    submodule.opens("apply_patches")


# Patches that do not apply.


def test_a_patch_that_does_not_apply(submodule) -> None:
    file = next((submodule.project.patches / "core").glob("0002-*"))
    file.write_bytes(file.read_bytes().replace(b"-    return value + 9", b"-    return value + 99"))
    before = submodule.state()
    line = submodule.refused("apply_patches")
    commit = submodule.git("log", "-1", "--format=%h", "1.0", "--", "metaflow/store.py")
    assert f"patches/core/{file.name} does not apply to 1.0" in line
    assert re.search(r"metaflow/store\.py hunk 1 \(@@ -4\d,7 @@ def step_0[89]", line), line
    assert f"last touched upstream by {commit} 2024-02-03 Release 1.0" in line
    assert submodule.state() == before
    assert not (submodule.project.build / "tmp").exists()


def test_a_patch_for_a_file_that_is_not_there(sandbox) -> None:
    file = next((sandbox.project.patches / "lone").glob("0001-*"))
    file.write_bytes(file.read_bytes().replace(b"crlf.py", b"lf.py"))
    before = sandbox.refs()
    line = sandbox.refused("apply_patches")
    assert "metaflow/lf.py" in line
    assert sandbox.refs() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: data[: data.index(b"@@")],
        lambda data: data[: data.rindex(b"+")],
        lambda data: data[data.index(b"diff --git") :],
        lambda data: data.replace(b"@@ -", b"@@ -x"),
        lambda data: data + data,
    ],
    ids=["empty", "no hunk", "short hunk", "no mail", "bad hunk header", "twice"],
)
def test_a_damaged_patch_file(sdist, damage) -> None:
    file = next((sdist.project.patches / "core").glob("0002-*"))
    file.write_bytes(damage(file.read_bytes()))
    before = sdist.refs()
    assert file.name in sdist.refused("apply_patches")
    assert sdist.refs() == before


# What the sdist does not have.


@pytest.fixture
def lacking(make_sandbox) -> Sandbox:
    """A project on the sdist whose `lone` also changes an existing test of upstream."""
    author = make_sandbox("submodule", name="author")
    author.switch("perf/lone")
    changes = {"test/unit/test_store.py": ("1 + 1 == 2", "2 + 2 == 4"), "setup.py": ("1.0", "1")}
    author.commit("Test more", changes)
    author.export()
    sandbox = make_sandbox("sdist")
    shutil.rmtree(sandbox.project.patches)
    shutil.copytree(author.project.patches, sandbox.project.patches)
    return sandbox


def test_a_patch_of_an_upstream_test_is_applied_without_it_and_said(lacking) -> None:
    ended = lacking.door("apply_patches")
    assert ended.code == 0
    notes = ended.err.splitlines()
    assert len(notes) == 1
    assert "perf/lone" in notes[0]
    assert "test/unit/test_store.py" in notes[0]
    assert b'version="1")' in lacking.file("perf/lone", "setup.py")
    assert "test_store" not in lacking.git("ls-tree", "-r", "--name-only", "perf/series")


def test_exporting_another_topic_leaves_such_a_patch_as_it_is(lacking) -> None:
    lacking.apply()
    before = lacking.patches()
    lacking.switch("perf/core")
    lacking.commit("Mine", MINE)
    lacking.opens("export_patches")
    after = lacking.patches()
    assert {name for name in after if after[name] != before.get(name)} == {
        "core/0003-Mine.patch",
        "series.toml",
    }


@pytest.mark.parametrize("branch", ["perf/lone", "perf/series"])
def test_such_a_topic_keeps_its_test_when_edited_on_the_sdist(lacking, branch) -> None:
    lacking.apply()
    (name,) = (name for name in lacking.patches() if name.startswith("lone/0002-"))
    before = lacking.patches()[name]
    lacking.switch(branch)
    lacking.commit("Mine", MINE)
    lacking.opens("export_patches", "--new-to", "lone")
    after = lacking.patches()
    assert after[name] == before
    assert b"test/unit/test_store.py" in before
    assert "lone/0003-Mine.patch" in after
    lacking.leave()
    lacking.opens("apply_patches")
    assert "already holds" in lacking.opens("export_patches")


def test_such_a_patch_keeps_its_subject_on_the_sdist(lacking) -> None:
    """The subject is what tells the commit that the left out part belongs to."""
    lacking.apply()
    before = lacking.patches()
    lacking.switch("perf/lone")
    lacking.git("commit", "--quiet", "--amend", "--message", "Test even more")
    line = lacking.refused("export_patches")
    assert "test/unit/test_store.py" in line
    assert "keep the subject" in line
    assert lacking.patches() == before


def test_a_patch_of_nothing_but_an_upstream_test(lacking) -> None:
    """Without the test nothing is left of it: the topic goes on without that patch."""
    file = next((lacking.project.patches / "lone").glob("0002-*"))
    data = file.read_bytes()
    start, end = data.index(b"diff --git a/setup.py"), data.index(b"diff --git a/test/")
    file.write_bytes(data[:start] + data[end:])
    lacking.apply()
    assert lacking.log("perf/lone") == ["Ändere Größen"]
    assert lacking.check().same
    lacking.switch("perf/core")
    lacking.commit("Mine", MINE)
    lacking.export()
    assert file.read_bytes() == data[:start] + data[end:]


def test_a_missing_file_elsewhere_is_no_excuse(sdist) -> None:
    file = next((sdist.project.patches / "lone").glob("0001-*"))
    file.write_bytes(file.read_bytes().replace(b"metaflow/crlf.py", b"metaflow/test/crlf.py"))
    assert "metaflow/test/crlf.py" in sdist.refused("apply_patches")
