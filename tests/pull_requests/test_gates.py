"""Each gate fails on what it is there for, and on nothing else."""

from dataclasses import replace

import pytest
from conftest import PR_MD, UPSTREAM, Contributor
from stub import Fault

from patchstack.patch import Patch
from patchstack.series import Fork, Integration, Intent, Pin, Series, Topic
from pullrequests.errors import TextError
from pullrequests.evidence import Evidence
from pullrequests.gates import Gate, Verdict, core_paths, judge_issue, judge_text
from pullrequests.github import GitHub
from pullrequests.sections import Text, load_text, split

TEST = "test/unit/test_x.py"
TOPIC = Topic(name="x", title="X", branch="x", intent=Intent.SUBMIT, reason="r")
FRESH = Evidence("| a |", (), "measure")


def patch(path: str, lines: int = 1, new: bool = False) -> Patch:
    old = "/dev/null" if new else f"a/{path}"
    diff = f"diff --git a/{path} b/{path}\n--- {old}\n+++ b/{path}\n@@ -0,0 +1,{lines} @@\n"
    return Patch("0001-x.patch", f"Subject: [PATCH] X\n\n{diff}".encode() + b"+x\n" * lines)


def series(*patches: Patch, topic: Topic = TOPIC) -> Series:
    upstream = "https://github.com/Netflix/metaflow"
    pin = Pin(repository=upstream, release="1.0", commit="0" * 40, sdist_sha256="0" * 64)
    fork = Fork(repository="https://github.com/KRRT7/metaflow")
    return Series(pin, fork, Integration(branch="s", wheel=1), (topic,), {topic.name: patches})


def text(changed: str = "", to: str = "", topic: Topic = TOPIC) -> Text:
    assert changed in PR_MD
    return Text(topic, dict(split(PR_MD.replace(changed, to, 1) if changed else PR_MD)))


def gates(series: Series, text: Text, evidence: Evidence = FRESH) -> dict[str, Gate]:
    return {gate.name: gate for gate in judge_text(series, text, evidence)}


GOOD = series(patch("metaflow/x.py"), patch(TEST, new=True))


def test_a_good_topic_is_green() -> None:
    assert {gate.verdict for gate in gates(GOOD, text()).values()} == {Verdict.GREEN}


@pytest.mark.parametrize(
    "path",
    [
        "metaflow/runtime.py",
        "metaflow/datastore/content_addressed_store.py",
        "metaflow/plugins/kubernetes/kubernetes.py",
    ],
)
def test_touched_paths_decide_core_runtime(path: str) -> None:
    gate = gates(series(patch(path)), text())["core-runtime"]
    assert gate.finding == f"Core Runtime change: {path}"


@pytest.mark.parametrize("ends", [("task.py", "x.py"), ("x.py", "task.py")])
def test_both_ends_of_a_rename_decide_core_runtime(ends: tuple[str, str]) -> None:
    old, new = (f"metaflow/{end}" for end in ends)
    renamed = f"diff --git a/{old} b/{new}\nsimilarity index 100%\nrename from {old}\n"
    moved = Patch("0001-x.patch", f"Subject: X\n\n{renamed}rename to {new}\n".encode())
    assert core_paths((moved,)) == ["metaflow/task.py"]


@pytest.mark.parametrize(
    "path", ["metaflow/runtime_x.py", "metaflow/util.py", "test/datastore/x.py"]
)
def test_other_paths_are_what_pr_md_says(path: str) -> None:
    assert gates(series(patch(path)), text())["core-runtime"].finding == "Bug fix"
    for said in ("", "Bug fix or Refactoring", "Something"):
        gate = gates(series(patch(path)), text("Bug fix", said))["core-runtime"]
        assert gate.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("name", "changed", "to", "finding"),
    [
        ("text", "Addition commutes.", "", "nothing under Why This Fix Is Correct"),
        ("text", "Subtraction.", "<!-- later -->", "nothing under Non-Goals"),
        ("text", "2. Lists.", "", "Failure Modes Considered: 1 numbered, 2 needed"),
        (
            "text",
            "1. Strings.\n2. Lists.",
            "1.\n2.\n3.\n4.",
            "Failure Modes Considered: 0 numbered, 2 needed",
        ),
        (
            "text",
            "2. Lists.",
            "```\n2. x\n```",
            "Failure Modes Considered: 1 numbered, 2 needed",
        ),
        ("statement", "- [x] No AI", "- [ ] No AI", "not stated"),
        ("statement", "- [ ] AI tools", "- [x] AI tools", "not stated"),
        (
            "statement",
            "[x] No AI tools were used in this contribution\n- [ ] AI",
            "[ ] No AI tools were used in this contribution\n- [x] AI",
            "not stated",
        ),
    ],
)
def test_what_a_person_has_to_write(name: str, changed: str, to: str, finding: str) -> None:
    gate = gates(GOOD, text(changed, to))[name]
    assert (gate.verdict, gate.finding) == (Verdict.FAILED, finding)
    assert "patches/x/pr.md" in gate.remedy


@pytest.mark.parametrize(
    ("name", "changed", "verdict"),
    [
        ("tests-added", series(patch("metaflow/x.py")), Verdict.FAILED),
        ("size", series(patch("metaflow/x.py", 401)), Verdict.WARNING),
        ("size", series(patch(TEST, 4000, new=True)), Verdict.GREEN),
    ],
)
def test_what_the_patches_hold(name: str, changed: Series, verdict: Verdict) -> None:
    assert gates(changed, text())[name].verdict is verdict


def test_what_is_still_the_templates_is_not_written() -> None:
    template = split("## Tests\n\n- [x] Unit tests added/updated\n\n## Summary\n\nWhat?\n")
    gate = gates(GOOD, text().without_blanks(template))["text"]
    assert gate.finding == "nothing under Tests"


def test_a_topic_that_needs_another_one() -> None:
    needy = TOPIC.model_copy(update={"depends_on": ("core",)})
    gate = gates(series(topic=needy), text(topic=needy))["depends"]
    assert gate.verdict is Verdict.FAILED and "commits of core too" in gate.finding


def test_stale_evidence_is_named() -> None:
    gate = gates(GOOD, text(), Evidence("", ("12 rows of arm x are old",), "measure"))["evidence"]
    assert (gate.verdict, gate.finding) == (Verdict.FAILED, "12 rows of arm x are old")


@pytest.mark.parametrize(
    ("by", "state", "verdict", "finding"),
    [
        (("her", "MEMBER"), "open", Verdict.GREEN, "answered by her"),
        (("her", "COLLABORATOR"), "open", Verdict.GREEN, "answered by her"),
        (("her", "CONTRIBUTOR"), "open", Verdict.FAILED, "nobody answered"),
        (("KRRT7", "COLLABORATOR"), "open", Verdict.FAILED, "nobody answered"),
        (("ci[bot]", "MEMBER"), "open", Verdict.FAILED, "nobody answered"),
        (("her", "OWNER"), "closed", Verdict.FAILED, "is closed"),
    ],
)
def test_a_maintainer_has_to_acknowledge_the_issue(
    contributor: Contributor,
    monkeypatch: pytest.MonkeyPatch,
    by: tuple[str, str],
    state: str,
    verdict: Verdict,
    finding: str,
) -> None:
    for name, value in contributor.env.items():
        monkeypatch.setenv(name, value)
    number = contributor.github.add_issue("Slow", "It is.", "zoe")
    contributor.github.items[UPSTREAM, number]["state"] = state
    for _ in range(100):  # more than one page of others
        contributor.github.comment(number, "somebody")
    contributor.github.comment(number, *by)
    gate = judge_issue(GitHub("github.com"), GOOD, text(), number)
    assert gate.verdict is verdict and finding in gate.finding


def test_a_pull_request_is_no_issue(
    contributor: Contributor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in contributor.env.items():
        monkeypatch.setenv(name, value)
    number = contributor.github.add_pull("KRRT7:master", "Text")
    gate = judge_issue(GitHub("github.com"), GOOD, text(), number)
    assert gate.verdict is Verdict.FAILED and "is a pull request" in gate.finding


def test_without_an_issue() -> None:
    github = GitHub("github.com")
    assert judge_issue(github, GOOD, text(), None).verdict is Verdict.FAILED
    assert judge_issue(github, GOOD, text("Bug fix", "Refactoring"), None).verdict is Verdict.GREEN
    core = replace(GOOD, patches={"x": (patch("metaflow/task.py"),)})
    assert judge_issue(github, core, text("Bug fix", "Refactoring"), None).verdict is Verdict.FAILED
    assert judge_issue(github, GOOD, text("Bug fix", ""), None).verdict is Verdict.FAILED


@pytest.mark.parametrize("status", [404, 410])
def test_an_issue_that_is_gone(
    contributor: Contributor, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    for name, value in contributor.env.items():
        monkeypatch.setenv(name, value)
    gone = Fault("GET", f"/repos/{UPSTREAM}/issues/7", status, {"message": "Gone"})
    contributor.github.faults.append(gone)
    gate = judge_issue(GitHub("github.com"), GOOD, text(), 7)
    assert (gate.verdict, gate.finding) == (Verdict.FAILED, f"{UPSTREAM}#7 is not there")
    assert "link another one" in gate.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Hello\n\n## Summary\n\nx\n", "'text before the first heading' is none of upstream's"),
        ("## Sumary\n\nx\n", "'Sumary' is none of upstream's headings"),
        ("## Summary\n\nx\n\n## Summary\n\ny\n", "'Summary' stands twice"),
        (None, "no patches/core/pr.md: write it"),
    ],
)
def test_a_pr_md_that_is_none(contributor: Contributor, content: str | None, said: str) -> None:
    file = contributor.sandbox.project.patches / "core" / "pr.md"
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert said in contributor.refused("core")
    with pytest.raises(TextError):
        load_text(contributor.sandbox.project, contributor.sandbox.series().topic("core"))
