"""The gates: each passes the sandbox's series and finds what it is there to find."""

from pathlib import Path

import pytest
from sandbox import Edit, Sandbox

from patchstack.check import Gate, GateResult, check_series, lint
from patchstack.patch import Patch

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
        (Gate.BLACK, "x = {  'a':1 }\n", "would reformat"),
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


def test_a_topic_that_does_not_stand_alone_stops_the_gates(make_sandbox) -> None:
    sandbox = make_sandbox("sdist")
    sandbox.edit_series(('depends_on = ["core"]\n', ""))
    results = gates(sandbox)
    assert list(results) == [Gate.ALONE]
    assert "patches/fast/0001" in results[Gate.ALONE].findings[0]


def test_a_file_that_export_would_write_otherwise_is_found(bare) -> None:
    file = next((bare.project.patches / "core").iterdir())
    file.write_bytes(file.read_bytes() + b"-- \n2.39.5\n")
    assert "patches/core: not as export writes it" in gates(bare)[Gate.FORM].findings[0]


def patch(diff: str, subject: str = "Change a file") -> Patch:
    return Patch("0001-x.patch", f"Subject: [PATCH] {subject}\n\n---\n{diff}".encode())


@pytest.mark.parametrize(
    ("one", "finding"),
    [
        (patch("", "x" * 73), "subject has 73 characters"),
        (patch("diff --git a/x b/x\nGIT binary patch\nliteral 0\n"), "binary change"),
        (
            patch("diff --git a/x b/x\nnew file mode 100755\n--- /dev/null\n+++ b/x\n"),
            "new file mode 100755",
        ),
        (patch("--- a/x\n+++ b/x\n@@ -1,1 +1,2 @@\n x\n"), "malformed diff"),
        (
            patch("--- a/x\n+++ b/x\n@@ -1,8 +1,9 @@\n" + " same\n" * 8 + "+new\n"),
            "more than 3 lines of context",
        ),
    ],
)
def test_lint_finds(one: Patch, finding: str) -> None:
    (found,) = lint(one)
    assert finding in found


def test_the_door_says_every_gate_and_fails_on_a_finding(bare) -> None:
    said = bare.opens("check_patches")
    assert said.count("ok  ") == 7
    assert "not run: upstream's unit tests" in said
    file = Path(bare.project.patches / "core" / bare.series().topic("core").patches[0])
    file.write_bytes(file.read_bytes() + b"-- \n2.39.5\n")
    ended = bare.door("check_patches")
    assert ended.code == 1
    assert "fail  files as export writes them" in ended.out
