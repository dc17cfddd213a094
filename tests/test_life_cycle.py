"""The contributor's day: apply, edit, export, apply, on both kinds of source."""

import pytest
from sandbox import BRANCHES, FAST_STEP_2, FASTER_STEP_2, STORE, Edit, Sandbox, edit

from patchstack.apply import Verdict
from patchstack.errors import ExportError

ADDED_STEP = {"metaflow/extra.py": "extra = 1\n"}


def written(sandbox: Sandbox, *names: str, new_to: str | None = None) -> set[str]:
    """Export; the files that were written or deleted, relative to patches/."""
    done = sandbox.export(*names, new_to=new_to)
    return {str(path.relative_to(sandbox.project.patches)) for path in done.written + done.deleted}


def plan(sandbox: Sandbox) -> dict[str, str]:
    """The picks of a rebase of the integration branch, by a short name of their commit."""
    names = ("core 1", "core 2", "fast 1", "fast 2", "lone")
    commits = sandbox.log("perf/series", "%H")
    return {name: f"pick {commit}\n" for name, commit in zip(names, commits, strict=True)}


def rebase_series(sandbox: Sandbox, *lines: str) -> None:
    sandbox.rebase("".join(lines), sandbox.base, "perf/series")


def amend(text: str, file: str = "metaflow/version.py") -> str:
    """A line of a rebase's plan that appends to a file in the commit before."""
    return f"exec echo '{text}' >> {file} && git commit --quiet --all --amend --no-edit\n"


def new(subject: str, file: str = "metaflow/extra.py") -> str:
    """A line of a rebase's plan that makes a new commit."""
    return f"exec echo new >> {file} && git add . && git commit --quiet --message '{subject}'\n"


def settle(sandbox: Sandbox) -> None:
    """After an export: apply brings all branches up to date, and nothing more remains to do."""
    sandbox.leave()
    sandbox.apply()
    assert sandbox.check().same
    before = sandbox.snapshot()
    assert sandbox.apply().same
    assert written(sandbox) == set()
    assert sandbox.snapshot() == before


@pytest.mark.parametrize("kind", ["submodule", "sdist"])
def test_a_day_through_the_doors(make_sandbox, kind) -> None:
    sandbox = make_sandbox(kind, applied=False)
    assert sandbox.door("apply_patches", "--check").code == 1
    said = sandbox.opens("apply_patches")
    assert f"metaflow 1.0 from the {kind}" in said
    assert said.count("created") == 4
    assert tuple(sorted(sandbox.branches())) == BRANCHES
    lone = sandbox.branches()["perf/lone"]

    sandbox.switch("perf/core")
    sandbox.commit("Add a step", ADDED_STEP)
    said = sandbox.opens("export_patches")
    assert "wrote   patches/core/0003-Add-a-step.patch" in said
    assert "wrote   patches/series.toml" in said
    assert "make apply" in said

    said = sandbox.opens("apply_patches")
    moved = {line.split()[0] for line in said.splitlines() if "moved" in line}
    assert moved == {"perf/fast", "perf/series"}
    assert sandbox.file("perf/fast", "metaflow/extra.py") == b"extra = 1\n"
    assert sandbox.branches()["perf/lone"] == lone

    assert sandbox.opens("apply_patches").count("up to date") == 4
    assert "patches/ already holds every commit" in sandbox.opens("export_patches")
    assert sandbox.opens("apply_patches", "--check").count("up to date") == 4


def test_the_branches_are_the_topic_what_it_needs_and_the_whole(sandbox) -> None:
    core = ["Add the faster step 2", "[core] Keep step 9 exact"]
    fast = ["Make step 2 faster still", "Test the fast steps"]
    lone = ["Ändere Größen"]
    assert sandbox.log("perf/core") == core
    assert sandbox.log("perf/fast") == core + fast
    assert sandbox.log("perf/lone") == lone
    assert sandbox.log("perf/series") == core + fast + lone


def test_add_a_patch(sandbox) -> None:
    sandbox.switch("perf/lone")
    sandbox.commit("Add a step", ADDED_STEP)
    assert written(sandbox) == {"lone/0002-Add-a-step.patch", "series.toml"}
    settle(sandbox)
    assert sandbox.log("perf/series")[-1] == "Add a step"


def test_drop_a_patch(sandbox) -> None:
    sandbox.switch("perf/core")
    sandbox.git("reset", "--quiet", "--hard", "HEAD~1")
    # `fast` changes the same file: the blob ids in its patch follow.
    followed = "fast/0001-Make-step-2-faster-still.patch"
    dropped = "core/0002-core-Keep-step-9-exact.patch"
    assert written(sandbox) == {dropped, followed, "series.toml"}
    assert sandbox.subjects("core") == ["Add the faster step 2"]
    settle(sandbox)
    assert (
        sandbox.file("perf/series", "metaflow/store.py")
        == STORE.replace(FAST_STEP_2[0], FASTER_STEP_2[1]).encode()
    )


def test_reword_a_patch(sandbox) -> None:
    sandbox.switch("perf/lone")
    sandbox.git("commit", "--quiet", "--amend", "--message", "Change sizes")
    renamed = {"lone/0001-ndere-Gr-en.patch", "lone/0001-Change-sizes.patch", "series.toml"}
    assert written(sandbox) == renamed
    settle(sandbox)
    assert sandbox.log("perf/series")[-1] == "Change sizes"


def test_amend_through_the_integration_branch(sandbox) -> None:
    picks = plan(sandbox)
    picks["core 2"] += amend("# amended")
    rebase_series(sandbox, *picks.values())
    assert written(sandbox) == {"core/0002-core-Keep-step-9-exact.patch"}
    settle(sandbox)
    assert sandbox.file("perf/core", "metaflow/version.py").endswith(b"# amended\n")


def test_reorder_within_a_topic(sandbox) -> None:
    picks = plan(sandbox)
    order = ("core 2", "core 1", "fast 1", "fast 2", "lone")
    rebase_series(sandbox, *(picks[name] for name in order))
    changed = written(sandbox, "perf/series")
    assert not any(name.startswith(("fast/", "lone/")) for name in changed)
    assert sandbox.subjects("core") == ["[core] Keep step 9 exact", "Add the faster step 2"]
    settle(sandbox)


def test_drop_through_the_integration_branch(sandbox) -> None:
    picks = plan(sandbox)
    del picks["fast 2"]
    rebase_series(sandbox, *picks.values())
    assert written(sandbox) == {"fast/0002-Test-the-fast-steps.patch", "series.toml"}
    settle(sandbox)


def test_a_new_commit_in_the_middle_of_a_topic_is_the_topics(sandbox) -> None:
    picks = plan(sandbox)
    picks["fast 1"] += new("Between")
    rebase_series(sandbox, *picks.values())
    sandbox.export()
    subjects = ["Make step 2 faster still", "Between", "Test the fast steps"]
    assert sandbox.subjects("fast") == subjects
    settle(sandbox)


@pytest.mark.parametrize("owner", ["core", "fast"])
def test_a_new_commit_between_topics_needs_a_name(sandbox, owner) -> None:
    picks = plan(sandbox)
    picks["core 2"] += new("Between")
    rebase_series(sandbox, *picks.values())
    before = sandbox.patches()
    line = sandbox.refused("export_patches")
    assert "'Between'" in line
    assert "--new-to TOPIC" in line
    assert sandbox.patches() == before
    sandbox.opens("export_patches", "--new-to", owner)
    assert "Between" in sandbox.subjects(owner)
    settle(sandbox)


def test_new_to_names_a_topic_of_the_series(sandbox) -> None:
    sandbox.switch("perf/series")
    sandbox.commit("At the end", ADDED_STEP)
    assert "no topic 'none'" in sandbox.refused("export_patches", "--new-to", "none")


def test_rewording_the_only_patch_of_a_topic_on_the_integration_branch(sandbox) -> None:
    sandbox.switch("perf/series")
    sandbox.git("commit", "--quiet", "--amend", "--message", "Change sizes")
    with pytest.raises(ExportError, match=r"'Change sizes' .* --new-to"):
        sandbox.export()
    sandbox.export(new_to="lone")
    assert sandbox.subjects("lone") == ["Change sizes"]
    settle(sandbox)


def test_edit_a_dependency_and_its_dependent_on_the_integration_branch(sandbox) -> None:
    picks = plan(sandbox)
    picks["core 1"] += amend("# of core")
    picks["fast 2"] += amend("# of fast", "test/unit/test_fast.py")
    rebase_series(sandbox, *picks.values())
    changed = {"core/0001-Add-the-faster-step-2.patch", "fast/0002-Test-the-fast-steps.patch"}
    assert written(sandbox) == changed
    settle(sandbox)


def test_add_to_a_dependency_and_rebase_its_dependent(sandbox) -> None:
    sandbox.switch("perf/core")
    sandbox.commit("Add a step", ADDED_STEP)
    sandbox.git("rebase", "--quiet", "perf/core", "perf/fast")
    sandbox.commit("Use the step", {"metaflow/extra.py": "extra = 2\n"})
    changed = {"core/0003-Add-a-step.patch", "fast/0003-Use-the-step.patch", "series.toml"}
    assert written(sandbox) == changed
    settle(sandbox)


def test_amend_a_dependency_and_rebase_its_dependent(sandbox) -> None:
    old = sandbox.branches()["perf/core"]
    sandbox.switch("perf/core")
    sandbox.commit("[core] Keep step 9 exact", ADDED_STEP, "--amend")
    sandbox.git("rebase", "--quiet", "--onto", "perf/core", old, "perf/fast")
    sandbox.commit("Use the step", {"metaflow/extra.py": "extra = 2\n"})
    sandbox.export()
    assert len(sandbox.subjects("core")) == 2
    assert sandbox.subjects("fast")[2:] == ["Use the step"]
    settle(sandbox)


def test_edit_a_dependency_that_its_dependent_no_longer_fits(sandbox) -> None:
    """`fast` changes the line that `core` writes: both files stay until both are mended."""
    before = sandbox.patches()
    sandbox.switch("perf/core")
    sandbox.commit("Undo", {"metaflow/store.py": tuple(reversed(FAST_STEP_2))})
    line = sandbox.refused("export_patches")
    assert "patches/fast/0001-Make-step-2-faster-still.patch" in line
    assert "metaflow/store.py" in line
    assert sandbox.patches() == before


def test_a_topic_on_two_others(sandbox) -> None:
    """Its ground is a commit that no branch names: both dependencies, one on the other."""
    sandbox.edit_series(('name = "fast"', 'name = "fast"\n# needs core'))
    text = sandbox.project.series_file.read_text(encoding="utf-8")
    head, _, lone = text.rpartition('branch = "perf/lone"\n')
    both = f'{head}branch = "perf/lone"\ndepends_on = ["core", "fast"]\n{lone}'
    sandbox.project.series_file.write_text(both, encoding="utf-8")
    sandbox.apply()
    assert sandbox.log("perf/lone") == sandbox.log("perf/series")
    sandbox.switch("perf/lone")
    sandbox.commit("Add a step", ADDED_STEP)
    assert written(sandbox) == {"lone/0002-Add-a-step.patch", "series.toml"}
    settle(sandbox)


def test_a_topic_taken_out_takes_its_branch_along(sandbox) -> None:
    sandbox.remove_topic("lone")
    assert sandbox.door("apply_patches", "--check").code == 1
    said = sandbox.opens("apply_patches")
    assert any("perf/lone" in line and "removed" in line for line in said.splitlines())
    assert not [name for name in sandbox.refs() if "lone" in name]
    assert sandbox.log("perf/series")[-1] == "Test the fast steps"
    settle(sandbox)


def test_a_topic_taken_out_leaves_a_branch_that_somebody_worked_on(sandbox) -> None:
    sandbox.switch("perf/lone")
    mine = sandbox.commit("Mine", ADDED_STEP)
    sandbox.leave()
    sandbox.remove_topic("lone")
    sandbox.apply()
    assert sandbox.branches()["perf/lone"] == mine
    settle(sandbox)


def test_a_topic_taken_out_while_its_branch_is_checked_out(sandbox) -> None:
    sandbox.switch("perf/lone")
    sandbox.remove_topic("lone")
    before = sandbox.refs()
    line = sandbox.refused("apply_patches")
    assert "perf/lone" in line
    assert sandbox.refs() == before
    sandbox.follow(line, "git -C")
    sandbox.opens("apply_patches")
    assert "perf/lone" not in sandbox.branches()


def test_a_branch_that_was_deleted_comes_back(sandbox) -> None:
    before = sandbox.branches()
    sandbox.git("branch", "--quiet", "-D", "perf/lone")
    verdicts = {state.branch: state.verdict for state in sandbox.apply().states}
    assert verdicts["perf/lone"] is Verdict.MISSING
    assert sandbox.branches() == before


def test_a_branch_renamed_in_the_series_is_made_anew(sandbox) -> None:
    old = sandbox.branches()["perf/lone"]
    sandbox.edit_series(('branch = "perf/lone"', 'branch = "perf/alone"'))
    sandbox.apply()
    assert "perf/lone" not in sandbox.branches()
    assert sandbox.branches()["perf/alone"] == old
    settle(sandbox)


def test_amend_a_dependency_and_its_dependent_on_their_branches(sandbox) -> None:
    """The dependent's branch still holds the old commits below it, which are nobody's work."""
    for branch in ("perf/core", "perf/fast"):
        sandbox.switch(branch)
        name = branch.replace("/", "_")
        sandbox.commit(f"Amended: {name}", {f"metaflow/{name}.py": "amended = 1\n"}, "--amend")
    sandbox.leave()
    sandbox.opens("export_patches")
    sandbox.opens("apply_patches")
    assert sandbox.check().same
    assert sandbox.log("perf/fast")[1::2] == ["Amended: perf_core", "Amended: perf_fast"]


REPEATED = ["x = 1\n"] * 60


def inserted(line: int) -> dict[str, Edit]:
    return {"metaflow/repeated.py": "".join([*REPEATED[:line], "y = 2\n", *REPEATED[line:]])}


@pytest.mark.parametrize("branch", ["perf/lone", "perf/series"])
def test_the_same_change_moved_to_another_place_is_work(sandbox, branch) -> None:
    """Its lines and their context are the same: only the place tells the two patches apart."""
    sandbox.switch("perf/lone")
    sandbox.commit("Repeat", {"metaflow/repeated.py": "".join(REPEATED)})
    sandbox.commit("Insert", inserted(10))
    sandbox.leave()
    sandbox.opens("export_patches")
    sandbox.opens("apply_patches")
    sandbox.switch(branch)
    edit(sandbox.tree, inserted(40))
    sandbox.git("commit", "--quiet", "--all", "--amend", "--no-edit")
    moved = sandbox.git("rev-parse", "HEAD^{tree}")
    sandbox.leave()
    assert f"{branch} in" in sandbox.refused("apply_patches")
    sandbox.opens("export_patches")
    sandbox.opens("apply_patches")
    assert sandbox.git("rev-parse", f"{branch}^{{tree}}") == moved
    assert sandbox.check().same
