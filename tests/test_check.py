"""The gates: each passes the sandbox's series and finds what it is there to find."""

import shutil
from pathlib import Path

import pytest
from sandbox import Edit, Sandbox, git

from patchstack.check import Gate, GateResult, check_series, lint
from patchstack.patch import Patch
from patchstack.source import clone_source

# The network is needed for the tests that patches bring: their gate is tried on the real
# series (`make check`); here the sandbox's topics bring none.
STEP = "metaflow/step.py"


@pytest.fixture
def bare(make_sandbox) -> Sandbox:
    """The sandbox without the topic that brings a test."""
    sandbox = make_sandbox("sdist")
    sandbox.remove_topic("fast")
    sandbox.apply()
    return sandbox


def gates(sandbox: Sandbox) -> dict[Gate, GateResult]:
    results = check_series(sandbox.project, sandbox.series(), sandbox.source(), None)
    return {result.gate: result for result in results}


def with_commit(sandbox: Sandbox, changes: dict[str, Edit]) -> dict[Gate, GateResult]:
    """The gates after a commit on `core` with these changes."""
    sandbox.switch("perf/core")
    sandbox.commit("Add a commit to look at", changes)
    sandbox.export()
    sandbox.leave()
    sandbox.apply()
    return gates(sandbox)


def test_a_good_series_passes_every_gate(bare) -> None:
    assert {gate: result.findings for gate, result in gates(bare).items()} == {
        gate: () for gate in Gate if gate is not Gate.UPSTREAM
    }


@pytest.mark.parametrize(
    ("gate", "content", "finding"),
    [
        (Gate.COMPILES, "def broken(:\n", "invalid syntax"),
        (Gate.BLACK, "x = {  'a':1 }\n", "metaflow/step.py: format it"),
        (Gate.PYTHON, "if (n := 10) > 5:\n    print(n)\n", "needs Python 3.8"),
        (Gate.LINT, "value = 1  \n", "step.py:1: trailing white space"),
    ],
)
def test_what_upstream_would_not_take_is_found(bare, gate, content, finding) -> None:
    found = with_commit(bare, {STEP: content})[gate].findings
    assert len(found) == 1
    assert finding in found[0]


def test_a_file_that_only_the_last_patch_mends_does_not_compile_after_the_first(bare) -> None:
    bare.switch("perf/core")
    bare.commit("Add a broken file", {STEP: "def broken(:\n"})
    results = with_commit(bare, {STEP: "def mended():\n    pass\n"})
    (finding,) = results[Gate.COMPILES].findings
    assert "0003-Add-a-broken-file.patch" in finding


def test_a_feature_that_the_file_used_before_is_not_the_patch_s(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    sandbox.remove_topic("fast")
    sandbox.git("checkout", "--quiet", "--detach", "1.0")
    sandbox.commit("Use f-strings' =", {STEP: "x = 1\nprint(f'{x=}')\n"})
    pinned = sandbox.series().pin.commit
    sandbox.edit_series((pinned, sandbox.git("rev-parse", "HEAD")))
    sandbox.apply()
    results = with_commit(sandbox, {STEP: 'x = 2\nprint(f"{x=}")\n'})
    assert results[Gate.PYTHON].findings == ()


def test_a_renamed_file_may_stay_as_it_was(make_sandbox) -> None:
    """Badly formatted and too new before: that is not the patch's doing."""
    sandbox = make_sandbox("submodule")
    sandbox.remove_topic("fast")
    sandbox.git("checkout", "--quiet", "--detach", "1.0")
    old = "x = {  'a':1 }\nprint(f'{x=}')\n" * 9
    sandbox.commit("Be badly formatted", {STEP: old, "metaflow/left.py": old})
    sandbox.edit_series((sandbox.series().pin.commit, sandbox.git("rev-parse", "HEAD")))
    sandbox.apply()
    results = with_commit(
        sandbox, {STEP: None, "metaflow/stride.py": old + "y = 1\n", "metaflow/new.py": "y={}\n"}
    )
    assert results[Gate.PYTHON].findings == ()
    (finding,) = results[Gate.BLACK].findings
    assert finding.startswith("topic core: metaflow/new.py: format it with black")


def test_a_topic_that_does_not_stand_alone_stops_the_gates(make_sandbox) -> None:
    sandbox = make_sandbox("sdist")
    sandbox.edit_series(('depends_on = ["core"]\n', ""))
    results = gates(sandbox)
    assert list(results) == [Gate.PIN, Gate.ALONE]
    assert "patches/fast/0001" in results[Gate.ALONE].findings[0]


def test_a_file_that_export_would_write_otherwise_is_found(bare) -> None:
    file = next((bare.project.patches / "core").iterdir())
    file.write_bytes(file.read_bytes() + b"-- \n2.39.5\n")
    assert "patches/core: not as export writes it" in gates(bare)[Gate.FORM].findings[0]


def patch(diff: str, subject: str = "Change a file") -> Patch:
    return Patch("0001-x.patch", f"Subject: [PATCH] {subject}\n\n---\n{diff}".encode())


SAME = " same\n"


def hunk(lines: str) -> Patch:
    return patch("diff --git a/x b/x\n--- a/x\n+++ b/x\n" + lines)


def test_lint_takes_the_context_that_git_writes() -> None:
    assert lint(hunk("@@ -1,12 +1,14 @@\n" + (SAME * 3 + "+new\n" + SAME * 3) * 2)) == []


@pytest.mark.parametrize(
    ("one", "finding"),
    [
        (patch("", "x" * 73), "subject has 73 characters"),
        (patch("diff --git a/x b/x\nGIT binary patch\nliteral 0\n"), "binary change"),
        (
            patch("diff --git a/x b/x\nnew file mode 100755\n--- /dev/null\n+++ b/x\n"),
            "new file mode 100755",
        ),
        (hunk("@@ -1,1 +1,2 @@\n x\n"), "malformed diff"),
        (hunk("@@ -1,4 +1,5 @@\n" + SAME * 4 + "+new\n"), "more than 3 lines of context"),
        (hunk("@@ -1,4 +1,5 @@\n+new\n" + SAME * 4), "more than 3 lines of context"),
        (
            hunk("@@ -1,13 +1,15 @@\n" + SAME * 3 + "+new\n" + SAME * 7 + "+new\n" + SAME * 3),
            "more than 3 lines of context",
        ),
    ],
)
def test_lint_finds(one: Patch, finding: str) -> None:
    (found,) = lint(one)
    assert finding in found


def test_the_door_says_every_gate_and_fails_on_a_finding(bare) -> None:
    said = bare.opens("check_patches")
    assert said.count("ok  ") == 8
    assert "not run: upstream's unit tests" in said
    file = Path(bare.project.patches / "core" / bare.series().topic("core").patches[0])
    file.write_bytes(file.read_bytes() + b"-- \n2.39.5\n")
    ended = bare.door("check_patches")
    assert ended.code == 1
    assert "fail  files as export writes them" in ended.out


def test_a_pin_that_is_not_the_submodule_is_found(make_sandbox) -> None:
    sandbox = make_sandbox("submodule")
    url = git(sandbox.root, "config", "--file", ".gitmodules", "submodule.metaflow.url")
    sandbox.edit_series(("https://upstream.invalid/metaflow", url))

    def findings() -> tuple[str, ...]:
        results = check_series(sandbox.project, sandbox.series(), sandbox.source(), None)
        return next(one for one in results if one.gate is Gate.PIN).findings

    (finding,) = findings()  # the index holds the newest release still
    command = finding.partition(": ")[2]
    git(sandbox.root, *command.split()[1:])
    assert findings() == ()
    sandbox.edit_series((url, "https://other.invalid/metaflow"))
    assert ".gitmodules names" in findings()[0]


def test_what_an_sdist_leaves_out_is_held_to_form_all_the_same(make_sandbox) -> None:
    author = make_sandbox("submodule", name="author")
    author.remove_topic("fast")
    author.apply()
    author.switch("perf/lone")
    changes = {"test/unit/test_store.py": ("1 + 1 == 2", "2 + 2 == 4"), STEP: "value = 1\n"}
    author.commit("Test more", changes)
    author.export()
    sandbox = make_sandbox("sdist")
    shutil.rmtree(sandbox.project.patches)
    shutil.copytree(author.project.patches, sandbox.project.patches)
    assert gates(sandbox)[Gate.FORM].findings == ()
    file = next((sandbox.project.patches / "lone").glob("0002-*"))
    blob = author.git("rev-parse", "perf/lone:" + STEP).encode()
    file.write_bytes(file.read_bytes().replace(blob, blob[:7]))  # as git abbreviates it
    assert "patches/lone" in gates(sandbox)[Gate.FORM].findings[0]


UPSTREAMS_TESTS = {
    "test/cmd/test_cmd.py": "def test_cmd():\n    pass\n",
    "test/plugins/test_plugins.py": "def test_plugins():\n    pass\n",
    "devtools/requirements-devstack.txt": "# none\npytest\npytest-timeout\n",
}


def test_upstreams_own_tests_run_on_stock_and_patched(make_sandbox, tmp_path) -> None:
    """A patch that breaks one is found, whatever source the project itself has."""
    sandbox = make_sandbox("submodule")
    sandbox.remove_topic("fast")
    sandbox.git("checkout", "--quiet", "--detach", "1.0")
    store = "from metaflow.store import step_02\n\n\ndef test_step():\n    assert step_02(1) == 3\n"
    setup = ('name="metaflow"', 'name="metaflow", packages=["metaflow"]')
    files: dict[str, Edit] = {"test/unit/test_step.py": store, "setup.py": setup}
    sandbox.commit("Test", files | UPSTREAMS_TESTS)
    pinned = sandbox.git("rev-parse", "HEAD")
    sandbox.edit_series((sandbox.series().pin.commit, pinned))
    sandbox.apply()
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(sandbox.tree), str(clone))
    before = git(clone, "for-each-ref"), git(clone, "count-objects", "-v")

    def upstream() -> GateResult:
        series = sandbox.series()
        cloned = clone_source(series.pin, clone)
        results = check_series(sandbox.project, series, sandbox.source(), cloned)
        return next(one for one in results if one.gate is Gate.UPSTREAM)

    assert upstream() == GateResult(Gate.UPSTREAM, (), "stock: 4 passed; patched: 4 passed")
    sandbox.switch("perf/core")
    sandbox.commit("Break it", {"metaflow/store.py": ("    return 2 + value\n", "    return 9\n")})
    sandbox.export()
    (finding,) = upstream().findings
    assert "test_step: passed on stock, failed on patched" in finding
    assert (git(clone, "for-each-ref"), git(clone, "count-objects", "-v")) == before


@pytest.mark.parametrize("given", ["nowhere", "folder", "repository"])
def test_no_clone_of_upstream(sandbox, tmp_path, given) -> None:
    (tmp_path / "folder").mkdir()
    git(tmp_path, "init", "--quiet", "repository")
    ended = sandbox.door("check_patches", "--upstream-git", str(tmp_path / given))
    assert ended.code == 1
    wanted = "does not have the pinned commit" if given == "repository" else "is no git repository"
    assert wanted in ended.err
    assert ended.out == ""  # said before minutes are spent on the other gates
