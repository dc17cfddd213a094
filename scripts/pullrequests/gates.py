"""Upstream's rules for contributions, and what speaks against a topic today.

A gate is green, warns, fails, or is unknown because nobody could look. Whatever fails or is
unknown stands before `--ready`; the contributor may go on without a gate by giving a reason,
which a reviewer reads in the pull request. What the contributor states about how the code
came about has no way round it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from patchstack.apply import Refs
from patchstack.check import Gate as Check
from patchstack.check import check_series
from patchstack.errors import GateError, PatchStackError
from patchstack.patch import Patch
from patchstack.project import Project
from patchstack.series import Series, Topic
from patchstack.source import Kind, Source
from pullrequests.errors import GitHubError, NotFoundError
from pullrequests.evidence import Evidence
from pullrequests.github import GitHub
from pullrequests.repository import repositories
from pullrequests.sections import (
    AI,
    BUG_FIX,
    CORE_RUNTIME,
    CORRECT,
    FAILURE_MODES,
    NON_GOALS,
    PR_TYPE,
    PR_TYPES,
    REPRODUCTION,
    ROOT_CAUSE,
    SUMMARY,
    TESTS,
    Text,
)

# "Core Runtime Contributions" in upstream's CONTRIBUTING.md at 2.19.38.
CORE_RUNTIME_PATHS = tuple(
    "metaflow/" + path
    for path in (
        *("runtime.py", "task.py", "flowspec.py", "runner/metaflow_runner.py"),
        *("runner/subprocess_manager.py", "runner/deployer_impl.py", "cli.py", "cli_components/"),
        *("runner/click_api.py", "datastore/", "plugins/datastores/", "metadata_provider/"),
        *("plugins/metadata_providers/", "plugins/aws/aws_client.py", "plugins/datatools/s3/"),
        *("metaflow_config.py", "parameters.py", "user_configs/", "mflog/", "system/"),
        *("debug.py", "decorators.py", "graph.py", "plugins/argo/", "plugins/aws/batch/"),
        *("plugins/aws/step_functions/", "plugins/kubernetes/"),
    )
)
MAINTAINERS = ("MEMBER", "OWNER", "COLLABORATOR")
# Ours, not upstream's: more than this is seldom one logical change, nor read in one sitting.
LARGE = 400


class Verdict(str, Enum):
    GREEN = "ok"
    WARNING = "warn"
    FAILED = "fail"
    UNKNOWN = "open"
    OVERRIDDEN = "over"


@dataclass(frozen=True)
class Gate:
    """The verdict of one rule; the remedy is empty where there is nothing to do."""

    name: str
    verdict: Verdict
    finding: str
    remedy: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict not in (Verdict.FAILED, Verdict.UNKNOWN)


CHECKS = tuple(check.name.lower() for check in Check)
OWN = ("core-runtime", "depends", "exported", "text", "tests-added", "size", "evidence", "issue")
STATEMENT = "statement"
OVERRIDABLE = (*OWN, *CHECKS)


def core_paths(patches: tuple[Patch, ...]) -> list[str]:
    """What is Core Runtime of the paths that are touched, at both ends of a rename."""
    files = [file for patch in patches for file in patch.diff]
    touched = {file.source_file.removeprefix("a/") for file in files}
    touched |= {file.target_file.removeprefix("b/") for file in files}
    return sorted(path for path in touched if path.startswith(CORE_RUNTIME_PATHS))


def judge_text(series: Series, text: Text, evidence: Evidence) -> Iterator[Gate]:
    """What can be told from patches/ and data/ alone."""
    topic, patches = text.topic, series.patches[text.topic.name]
    core = core_paths(patches)
    where = f"patches/{topic.name}/pr.md"
    kind = text.kind(bool(core))
    finding = f"{kind}: {', '.join(core)}" if core else kind or "no type named"
    remedy = f"name one of {', '.join(PR_TYPES)} under '{PR_TYPE}' in {where}"
    yield _gate("core-runtime", kind is not None, finding, remedy)
    needed = ", ".join(topic.depends_on)
    yield _gate(
        "depends",
        not needed,
        f"its pull request would hold the commits of {needed} too" if needed else "stands alone",
        f"wait until {needed} has landed and rebase",
    )
    wanted = [SUMMARY, REPRODUCTION, ROOT_CAUSE, CORRECT, FAILURE_MODES, TESTS, NON_GOALS]
    missing = [heading for heading in wanted if not text.has(heading)]
    finding = f"nothing under {', '.join(missing)}" if missing else ""
    if FAILURE_MODES not in missing and text.failure_modes < 2:
        finding = f"{finding} {FAILURE_MODES}: {text.failure_modes} numbered, 2 needed".lstrip()
    yield _gate("text", not finding, finding or f"{len(wanted)} sections", f"write it in {where}")
    tests = [
        file.path
        for patch in patches
        for file in patch.diff
        if file.added and file.path.startswith("test/") and file.path.endswith(".py")
    ]
    finding = ", ".join(dict.fromkeys(tests)) or "no test added"
    yield _gate("tests-added", bool(tests), finding, "add a test that fails without the change")
    yield _size(patches)
    yield _gate(
        "evidence", not evidence.findings, "; ".join(evidence.findings) or "fresh", evidence.remedy
    )
    yield _gate(
        STATEMENT,
        text.ai is not None,
        {"none": "none used", "used": "used, and described"}.get(text.ai or "", "not stated"),
        f"write '{AI}' in {where} yourself, or be asked with --statement",
    )


def _size(patches: tuple[Patch, ...]) -> Gate:
    """Lines that a reviewer must read as code: tests are not counted."""
    lines = sum(
        file.added + file.removed
        for patch in patches
        for file in patch.diff
        if not file.path.startswith("test/")
    )
    finding = f"{lines} changed lines outside of tests, {len(patches)} commits"
    if lines <= LARGE:
        return Gate("size", Verdict.GREEN, finding)
    remedy = "see whether it is more than one logical change: split the topic"
    return Gate("size", Verdict.WARNING, finding, remedy)


def judge_patches(
    project: Project, series: Series, source: Source, topic: Topic, *, upstream_tests: bool
) -> Iterator[Gate]:
    """What make check says of the topic and of what it depends on, alone on the pin."""
    refs = Refs.read(source.repo)
    moved = refs.heads.get(topic.branch) not in (None, refs.records.get(topic.branch))
    finding = "moved since apply" if moved else "holds what patches/ holds"
    remedy = "run make export, then make apply"
    yield _gate("exported", not moved, f"branch {topic.branch} {finding}", remedy)
    own = series.closure(topic)
    alone = replace(series, topics=own, patches={one.name: series.patches[one.name] for one in own})
    upstream = source if upstream_tests and source.kind is Kind.SUBMODULE else None
    seen, why = set(), "not run"
    try:
        for result in check_series(project, alone, source, upstream):
            name = result.gate.name.lower()
            seen.add(name)
            finding = "; ".join(result.findings) or result.note
            yield _gate(name, not result.findings, finding, "see make check, mend it and export")
    except GateError as error:
        why = f"not run: {error}"
    last = "runs with --ready, from the submodule, where what is cheaper is green"
    for name in CHECKS:
        if name not in seen:
            yield Gate(name, Verdict.UNKNOWN, why, last if name == "upstream" else "run again")


def judge_issue(github: GitHub, series: Series, text: Text, number: int | None) -> Gate:
    """Whether a maintainer has acknowledged the problem."""
    upstream, fork = repositories(series)
    kind = text.kind(bool(core_paths(series.patches[text.topic.name])))
    if number is None and kind not in (CORE_RUNTIME, BUG_FIX, None):
        return Gate("issue", Verdict.GREEN, f"none needed for: {kind}")
    if number is None:
        draft = f'make pr ARGS="{text.topic.name} --issue"'
        remedy = f"open one with {draft}, or link one in series.toml"
        return Gate("issue", Verdict.FAILED, "none linked", remedy)
    name = f"{upstream.slug}#{number}"
    try:
        issue = github.get(f"{upstream.path}/issues/{number}")
        if "pull_request" in issue:
            remedy = "link an issue in patches/series.toml"
            return Gate("issue", Verdict.FAILED, f"{name} is a pull request", remedy)
        if issue["state"] != "open":
            remedy = "ask there, or link another one"
            return Gate("issue", Verdict.FAILED, f"{name} is {issue['state']}", remedy)
        comments = github.pages(f"{upstream.path}/issues/{number}/comments")
        answered = next((_who(one) for one in comments if _is_maintainers(one, fork.owner)), "")
    except NotFoundError:
        remedy = "link another one in patches/series.toml"
        return Gate("issue", Verdict.FAILED, f"{name} is not there", remedy)
    except GitHubError as error:
        return Gate("issue", Verdict.UNKNOWN, f"{name}: {error}", "run again")
    finding = f"{name} is open, " + (f"answered by {answered}" if answered else "nobody answered")
    return _gate("issue", bool(answered), finding, "wait for a maintainer's comment, or ask for it")


def _is_maintainers(comment: Any, contributor: str) -> bool:
    user = comment["user"] or {}
    return (
        comment["author_association"] in MAINTAINERS
        and user.get("type") != "Bot"
        and str(user.get("login", "")).lower() != contributor.lower()
    )


def _who(comment: Any) -> str:
    return str((comment["user"] or {}).get("login", "a maintainer"))


def override(gates: list[Gate], reasons: dict[str, str]) -> list[Gate]:
    """The gates with the contributor's reasons in the place of failures."""
    return [
        replace(gate, verdict=Verdict.OVERRIDDEN, remedy=f"because: {reasons[gate.name]}")
        if gate.name in reasons and not gate.passed
        else gate
        for gate in gates
    ]


def parse_override(text: str) -> tuple[str, str]:
    """GATE=REASON. Without a reason there is no override."""
    name, _, reason = text.partition("=")
    if name not in OVERRIDABLE or not reason.strip():
        raise PatchStackError(
            f"--override {name}: write GATE=REASON, with the reason that reviewers will read; "
            f"gates are {', '.join(OVERRIDABLE)}"
        )
    return name, " ".join(reason.split())


def _gate(name: str, passed: bool, finding: str, remedy: str) -> Gate:
    if passed:
        return Gate(name, Verdict.GREEN, finding)
    return Gate(name, Verdict.FAILED, finding, remedy)
