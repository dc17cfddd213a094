"""The gates a patch must pass before it is worth a maintainer's time.

Upstream's rules, executed: form, lint, black as upstream pins it, Python 3.6, code that
compiles after every single patch, every topic alone on the pin, the tests it brings, and
upstream's own unit tests on stock and patched.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from pathlib import Path

from unidiff.patch import Hunk

from patchstack.errors import ConflictError, GateError, SeriesError
from patchstack.git import Repo, scratch
from patchstack.patch import Patch
from patchstack.project import Project
from patchstack.series import Series, Topic
from patchstack.source import Source, source_tree
from patchstack.stack import Builder
from patchstack.wheel import run_uv, tree_wheel

# From upstream's .pre-commit-config.yaml.
BLACK_TARGETS = [f"py{version}" for version in (34, 35, 36, 37, 38, 39, *range(310, 315))]
# From upstream's classifiers: the oldest Python whose syntax its code keeps to.
PYTHON_FLOOR = (3, 6)
# Annotations are evaluated: upstream's code has no `from __future__ import annotations`.
VERMIN = ("--format", "parsable", "--no-tips", "--eval-annotations")
# From upstream's commit guidelines.
SUBJECT_LENGTH = 72
CONTEXT_LINES = 3
# How upstream's CI runs its unit tests.
UPSTREAM_TESTS = ["test/unit/", "test/cmd/", "test/plugins/", "--ignore=test/unit/spin"]
UPSTREAM_TESTS += ["-m", "not docker", "--timeout=120"]
TOPIC_TEST_PLUGINS = ("pytest", "pytest-mock", "pytest-timeout")


class Gate(str, Enum):
    PIN = "the submodule is the pin"
    ALONE = "each topic alone on the pin"
    FORM = "files as export writes them"
    LINT = "lint of the diffs"
    COMPILES = "compiles after every patch"
    BLACK = "black"
    PYTHON = "Python 3.6"
    TESTS = "tests the patches bring"
    UPSTREAM = "upstream's unit tests"


@dataclass(frozen=True)
class GateResult:
    """What a gate found wrong, each finding one line; and what it looked at."""

    gate: Gate
    findings: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Tips:
    """Start and tip of every topic that applies, and the tip of the whole series."""

    topics: dict[str, tuple[str, str]]
    integration: str


def check_series(
    project: Project, series: Series, source: Source, upstream: Source | None
) -> Iterator[GateResult]:
    """Run every gate, cheapest first; a gate whose ground is missing is not run.

    `upstream` is upstream with its tests (`clone_source`), for those to be run as well.
    """
    yield _pin(project, series)
    with project.exclusive(), scratch(project, source.repo, keep_objects=True) as repo:
        builder = Builder(repo, source, series)
        tips, alone = _alone(builder)
        yield alone
        if tips is None:
            return
        yield _form(builder)
        yield _lint(series)
        yield _compiles(builder, tips)
    yield _black(project, series, source, tips)
    yield _python_floor(project, series, source, tips)
    yield _own_tests(project, series, source, tips)
    if upstream is not None:
        yield _upstream_tests(project, series, upstream)


def _pin(project: Project, series: Series) -> GateResult:
    """The pin is said twice: in series.toml, and as what `git submodule update` fetches."""
    repo, findings = Repo(project.root), []
    if not (project.root / ".git").exists():
        return GateResult(Gate.PIN, (), "not told outside a git checkout")
    entry = repo.text("ls-files", "--stage", "--", "metaflow").split()
    if entry[:2] != ["160000", series.pin.commit]:
        findings.append(
            f"metaflow is {entry[1] if entry else 'no submodule'} in git's index, pin.commit is "
            f"{series.pin.commit}: git update-index --cacheinfo 160000,{series.pin.commit},metaflow"
        )
    url = repo.run("config", "--file", ".gitmodules", "submodule.metaflow.url").stdout.decode()
    if url.strip() != series.pin.repository:
        findings.append(f".gitmodules names {url.strip() or 'no repository'}, the pin does not")
    return GateResult(Gate.PIN, tuple(findings))


def _alone(builder: Builder) -> tuple[Tips | None, GateResult]:
    topics, findings, integration = {}, [], ""
    for topic in builder.series.topics:
        try:
            topics[topic.name] = builder.branch(topic)
        except ConflictError as error:
            findings.append(str(error))
    if not findings:
        try:
            integration = builder.integration()
        except ConflictError as error:
            findings.append(f"in the whole series: {error}")
    left_out = [path for held in builder.held.values() for path in held.left_out]
    note = f"left out, because the sdist lacks them: {', '.join(left_out)}" if left_out else ""
    result = GateResult(Gate.ALONE, tuple(findings), note or f"{len(topics)} topics")
    return (None if findings else Tips(topics, integration)), result


def _form(builder: Builder) -> GateResult:
    findings = [
        f"patches/{topic.name}: not as export writes it: run make export"
        for topic in builder.series.topics
        if builder.canonical(topic) != builder.series.patches[topic.name]
    ]
    return GateResult(Gate.FORM, tuple(findings))


def _lint(series: Series) -> GateResult:
    findings = [
        f"patches/{topic.name}/{patch.name}: {finding}"
        for topic in series.topics
        for patch in series.patches[topic.name]
        for finding in lint(patch)
    ]
    return GateResult(Gate.LINT, tuple(findings))


def lint(patch: Patch) -> list[str]:
    """What upstream's reviewers and hooks would not take, a line each."""
    findings = []
    if len(patch.subject) > SUBJECT_LENGTH:
        findings.append(f"subject has {len(patch.subject)} characters: {SUBJECT_LENGTH} at most")
    if patch.binary:
        findings.append("binary change: leave it out")
    for mode in re.findall(rb"^(?:new|old|new file) mode \d+$", patch.data, re.MULTILINE):
        if mode != b"new file mode 100644":
            findings.append(f"{mode.decode()}: a patch changes no modes, new files are 100644")
    try:
        files = list(patch.diff)
    except SeriesError as error:
        return [*findings, str(error)]
    for file in files:
        for hunk in file:
            for line in hunk:
                if line.is_added and line.value.rstrip("\r\n") != line.value.rstrip():
                    findings.append(f"{file.path}:{line.target_line_no}: trailing white space")
            if _too_much_context(hunk):
                findings.append(
                    f"{file.path}: hunk at {hunk.source_start} has more than {CONTEXT_LINES} lines "
                    "of context: export writes it smaller"
                )
    return findings


def _too_much_context(hunk: Hunk) -> bool:
    """More unchanged lines than git writes: three at each end, twice that between changes."""
    runs = [
        len(list(lines)) if same else 0
        for same, lines in groupby(hunk, lambda line: line.is_context)
    ]
    ends, between = (runs[0], runs[-1]), runs[1:-1]
    return max(ends) > CONTEXT_LINES or max(between, default=0) > 2 * CONTEXT_LINES


def _python_files(patches: tuple[Patch, ...]) -> dict[str, str]:
    """Python files that patches touch, each with its name before them, which may be another.

    Only those that are ours to format: not vendored ones.
    """
    paths: dict[str, str] = {}
    for file in (file for patch in patches for file in patch.diff if not file.is_removed_file):
        before = file.source_file.removeprefix("a/") if file.is_rename else file.path
        paths[file.path] = paths.pop(before, before)
    return {
        path: before
        for path, before in paths.items()
        if path.endswith(".py") and not path.startswith("metaflow/_vendor/")
    }


def _compiles(builder: Builder, tips: Tips) -> GateResult:
    repo, findings, count = builder.repo, [], 0
    for topic in builder.series.topics:
        commits = repo.commits(*tips.topics[topic.name])
        for commit, patch in zip(commits, builder.held[topic.name].applied, strict=True):
            for path in _python_files((patch,)):
                code = repo.run("cat-file", "blob", f"{commit}:{path}")
                if code.returncode:  # left out of an sdist
                    continue
                count += 1
                try:
                    compile(code.stdout, path, "exec", dont_inherit=True)
                except (SyntaxError, ValueError) as error:
                    findings.append(f"patches/{topic.name}/{patch.name}: {path}: {error}")
    return GateResult(Gate.COMPILES, tuple(findings), f"{count} files")


def _trees(
    project: Project, series: Series, source: Source, tips: Tips
) -> Iterator[tuple[Topic, Path, dict[str, str]]]:
    """Every topic with its patched tree and the Python files in it that it touches.

    Each file comes with its name at the pin.
    """
    for topic in series.topics:
        tree = source_tree(project, source, tips.topics[topic.name][1])
        touched = _python_files(series.patches[topic.name])
        files = {path: at_pin for path, at_pin in touched.items() if (tree / path).exists()}
        if files:
            yield topic, tree, files


def _tool(tree: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with these arguments in `tree`."""
    command = [sys.executable, *args]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True)


def _black(project: Project, series: Series, source: Source, tips: Tips) -> GateResult:
    """Files that black would change patched and would have left alone at the pin."""
    stock = source_tree(project, source, source.base)
    findings, count = [], 0
    for topic, tree, files in _trees(project, series, source, tips):
        count += len(files)
        bad, before = _misformatted(tree, files), _misformatted(stock, files.values())
        for path in sorted(path for path in bad if files[path] not in before):
            findings.append(f"topic {topic.name}: {path}: format it with black 25.12.0")
    return GateResult(Gate.BLACK, tuple(findings), f"{count} files")


def _misformatted(tree: Path, files: Collection[str]) -> set[str]:
    """Those of `files` that black would change, or cannot read."""
    targets = [arg for target in BLACK_TARGETS for arg in ("-t", target)]
    there = [path for path in files if (tree / path).exists()]
    if not there:
        return set()
    done = _tool(tree, "-m", "black", "--check", *targets, *there)
    named = r"^(?:would reformat|error: cannot format) (.+?\.py)\b"
    bad = set(re.findall(named, done.stderr, re.MULTILINE))
    if done.returncode and not bad:
        raise GateError(f"black did not run: {done.stderr.strip().splitlines()[-1]}")
    return bad


def _python_floor(project: Project, series: Series, source: Source, tips: Tips) -> GateResult:
    """Features newer than Python 3.6 that a file uses patched and did not use at the pin."""
    stock = source_tree(project, source, source.base)
    findings, count = [], 0
    for topic, tree, files in _trees(project, series, source, tips):
        count += len(files)
        for path, at_pin in files.items():
            for feature in sorted(_too_new(tree, path) - _too_new(stock, at_pin)):
                findings.append(f"topic {topic.name}: {path}: {feature}")
    return GateResult(Gate.PYTHON, tuple(findings), f"{count} files")


def _too_new(tree: Path, path: str) -> set[str]:
    """Features of a file that Python 3.6 does not have, as vermin names them."""
    if not (tree / path).exists():
        return set()
    done = _tool(tree, "-c", "from vermin import main; main()", *VERMIN, path)
    found, summary = set(), False
    for line in done.stdout.splitlines():
        # file:line:column:2.x:3.x:feature; without a feature where it sums up
        *_, python3, feature = line.split(":", 5)
        summary = summary or not feature
        needs = re.fullmatch(r"(\d+)\.(\d+)", python3)
        if feature and python3 == "!3":
            found.add(f"{feature} does not run on Python 3")
        elif feature and needs and (int(needs[1]), int(needs[2])) > PYTHON_FLOOR:
            found.add(f"{feature} needs Python {python3}")
    if not summary:
        raise GateError(f"vermin did not run: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return found


def _own_tests(project: Project, series: Series, source: Source, tips: Tips) -> GateResult:
    findings, notes = [], []
    for topic, tree, files in _trees(project, series, source, tips):
        tests = [path for path in files if re.match(r"test/(.*/)?test_[^/]+\.py$", path)]
        if not tests:
            continue
        tip = tips.topics[topic.name][1]
        # Without the extras first: what does not opt in must work all the same.
        wheel = tree_wheel(project, source, tip)
        opted_in = (*topic.test_extras, *topic.test_packages)
        for optional in dict.fromkeys(((), opted_in)):
            extras = f"[{','.join(topic.test_extras)}]" if optional and topic.test_extras else ""
            packages = topic.test_packages if optional else ()
            outcome = run_pytest(tree, [f"{wheel}{extras}", *packages, *TOPIC_TEST_PLUGINS], tests)
            label = topic.name + (f" with {', '.join(optional)}" if optional else "")
            findings += [f"topic {label}: {one}" for one in outcome.failures]
            if not outcome.outcomes:
                findings.append(f"topic {label}: its test files hold no test")
            notes.append(f"{label}: {outcome.summary}")
    return GateResult(Gate.TESTS, tuple(findings), "; ".join(notes))


@dataclass(frozen=True)
class TestRun:
    """Outcome of every test of one pytest run, by its name."""

    outcomes: dict[str, str]

    @property
    def failures(self) -> list[str]:
        return [f"{name} {what}" for name, what in self.outcomes.items() if what in BAD]

    @property
    def summary(self) -> str:
        kinds = [*self.outcomes.values()]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(sorted(kinds)))


BAD = ("failed", "error")


def run_pytest(tree: Path, requirements: list[str], tests: list[str]) -> TestRun:
    """Run tests of `tree` in an environment of its own, against that tree's Metaflow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = folder / "junit.xml"
        # A copy: tests may write where they run, and the tree is there for others to run from.
        copy = shutil.copytree(tree, folder / "metaflow", symlinks=True)
        proof = f"import metaflow; assert metaflow.__file__.startswith({str(copy)!r}), metaflow"
        uv_run = ["run", "--no-project", "--isolated", "--python", sys.executable]
        uv_run += [arg for requirement in requirements for arg in ("--with", requirement)]
        env = {"PYTHONPATH": str(copy), "USERNAME": "metaflow-perf"}
        proven = run_uv(*uv_run, "python", "-c", proof, cwd=folder, **env)
        if proven.returncode:
            last = (proven.stderr.strip().splitlines() or ["no output"])[-1]
            raise GateError(f"cannot set up the tests of {tree.name}: {last}")
        # A home of their own for the tests, behind uv, which keeps its cache in the user's.
        pytest = ["env", f"HOME={folder}", "python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        # Not this repository's pytest settings, which stand above the tree.
        pytest += ["-c", os.devnull, f"--rootdir={copy}"]
        done = run_uv(*uv_run, *pytest, f"--junitxml={report}", *tests, cwd=copy, **env)
        if not report.is_file():
            last = (done.stdout + done.stderr).strip().splitlines()[-1]
            raise GateError(f"pytest did not run in {tree.name}: {last}")
        return TestRun(_outcomes(report))


def _outcomes(report: Path) -> dict[str, str]:
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        what = "passed"
        for tag, name in (("skipped", "skipped"), ("failure", "failed"), ("error", "error")):
            if tag in kinds:
                what = name
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = what
    return outcomes


def _upstream_tests(project: Project, series: Series, upstream: Source) -> GateResult:
    """Upstream's unit tests on stock and patched: what passes on stock must pass patched."""
    runs = []
    with project.exclusive(), scratch(project, upstream.repo, keep_objects=False) as repo:
        source = replace(upstream, repo=repo)  # the clone itself stays as it is
        commits = (source.base, Builder(repo, source, series).integration())
        trees = [source_tree(project, source, commit) for commit in commits]
        wheels = [tree_wheel(project, source, commit) for commit in commits]
    for tree, wheel in zip(trees, wheels, strict=True):
        wanted = (tree / "devtools" / "requirements-devstack.txt").read_text().splitlines()
        plugins = [line.strip() for line in wanted if line.strip() and not line.startswith("#")]
        # Metaflow takes any boto3, and uv settles what is named first on its newest release:
        # left to come last it was backtracked to a release of 2014, which no Python 3 runs.
        runs.append(run_pytest(tree, ["boto3", str(wheel), *plugins], UPSTREAM_TESTS))
    stock, ours = runs
    if "passed" not in stock.outcomes.values():
        raise GateError("upstream's unit tests do not run on stock: nothing can be compared")
    findings = [
        f"{name}: {what} on stock, {ours.outcomes.get(name, 'gone')} on patched"
        for name, what in stock.outcomes.items()
        if what == "passed" and ours.outcomes.get(name) != "passed"
    ]
    new = {name: what for name, what in ours.outcomes.items() if name not in stock.outcomes}
    findings += [f"{name}: {what}, new" for name, what in new.items() if what in BAD]
    return GateResult(
        Gate.UPSTREAM, tuple(findings), f"stock: {stock.summary}; patched: {ours.summary}"
    )
