"""README.md, status.md and the like: every link leads somewhere, every command is real."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from sandbox import MACHINE, ROOT, git

from bench.errors import BenchError
from bench.newcomer import HEADING, code_blocks, commands, follow_page
from bench.sweep import PLAN, load_plan
from bench.workloads import select_cases
from patchstack.project import Project
from patchstack.series import load_series
from patchstack.source import sdist_path

README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "data").glob("*.md")])
EXAMPLE = "Work on the series"


def tokens(document: Path) -> Iterator[Token]:
    for token in MarkdownIt().enable("table").parse(document.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def headings(document: Path) -> list[str]:
    """As GitHub makes anchors of them."""
    before, found = "", []
    for token in tokens(document):
        if before == "heading_open":
            found.append(re.sub(r"[^\w\- ]", "", token.content.lower()).replace(" ", "-"))
        before = token.type
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = [
        str(token.attrs.get("href", token.attrs.get("src")))
        for token in tokens(document)
        if token.type in ("link_open", "image")
    ]
    for target in targets:
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        other = document.parent / path if path else document
        assert other.exists(), target
        assert not anchor or anchor in headings(other), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_heading_has_something_below_it(document: Path) -> None:
    levels = [(token.type, token.tag) for token in tokens(document) if token.tag or token.content]
    for (kind, tag), (after, below) in zip(levels, [*levels[1:], ("", "")], strict=True):
        if kind == "heading_close":
            assert after and (after != "heading_open" or below > tag), document


def readme_commands() -> list[str]:
    blocks = code_blocks(README.read_text(encoding="utf-8"))
    return [line for own in blocks.values() for block in own for line in commands(block)]


@pytest.mark.parametrize("command", [one for one in readme_commands() if one.startswith("make ")])
def test_commands_have_their_doors_and_options(command: str) -> None:
    plan = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert plan.returncode == 0, plan.stderr
    door = re.search(r"scripts/\w+\.py.*", plan.stdout)
    if door:
        arguments = shlex.split(door[0])
        done = subprocess.run(
            [sys.executable, *arguments, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        named = [value for name, value in itertools.pairwise(arguments) if name == "--workload"]
        if named:
            assert select_cases(named, [], [], quick=False)


@pytest.mark.parametrize("command", [one for one in readme_commands() if one.startswith("infra/")])
def test_the_machine_has_its_commands(command: str) -> None:
    script, name, *options = shlex.split(command)
    said = subprocess.run([ROOT / script, "--help"], capture_output=True, text=True, check=True)
    assert re.search(rf"^ +{name}\b", said.stdout, re.MULTILINE)
    assert all(option in said.stdout for option in options if name != "bench")


def test_the_wheel_has_the_name_that_is_installed() -> None:
    series = load_series(Project(ROOT))
    name = f"metaflow-{series.pin.release}+perf.{series.integration.wheel}-py3-none-any.whl"
    page = README.read_text(encoding="utf-8")
    assert set(re.findall(r"metaflow-[\w.+-]+\.whl", page)) == {name}
    assert f'`pip install "metaflow==={series.pin.release}"`' in page
    extras = set(re.findall(r"\.whl\[(\w+)\]", page)) | set(re.findall(r"with `\[(\w+)\]`", page))
    patches = b"".join(patch.data for own in series.patches.values() for patch in own).decode(
        errors="replace"
    )
    assert extras
    for extra in extras:
        assert re.search(rf'^\+.*"{extra}": \[', patches, re.MULTILINE), extra


def test_the_sweep_on_a_cluster_names_one() -> None:
    page = README.read_text(encoding="utf-8")
    (command,) = [line for line in readme_commands() if "--argo" in line]
    name = shlex.split(shlex.split(command)[2].removeprefix("ARGS="))[1]
    assert load_plan(PLAN).machines[name].kubernetes is not None
    assert name in page


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This commit, with what was downloaded for this checkout."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(ROOT), str(clone))
    archive = sdist_path(Project(ROOT), load_series(Project(ROOT)).pin.release)
    if archive.is_file():
        there = sdist_path(Project(clone), load_series(Project(clone)).pin.release)
        there.parent.mkdir(parents=True)
        shutil.copy(archive, there)
    return clone


def test_the_worked_example_works(clone: Path, tmp_path: Path) -> None:
    """The first block of `EXAMPLE` as printed, with an editor that adds a line."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "# An edit." >> "$1"\n')
    editor.chmod(0o755)
    (block, *_) = code_blocks(README.read_text(encoding="utf-8"))[EXAMPLE]
    user = {"EDITOR": str(editor), "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org"}
    user |= {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org"}
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{MACHINE['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=clone,
        env=MACHINE | user | path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    changed = git(clone, "diff", "--name-only").splitlines()
    assert [Path(name).parts[:2] for name in changed] == [("patches", "parallel-map")]
    assert "+# An edit." in (clone / changed[0]).read_text(encoding="utf-8")


def test_a_newcomer_is_followed_on_the_page(tmp_path: Path) -> None:
    """Commands as printed, in a clone, with an empty home; the one that fails is named."""
    project = tmp_path / "project"
    project.mkdir()
    page = f'# A\n\n## {HEADING}\n\n```sh\ntest -z "$(ls $HOME)"  # empty\nls -a > $HOME/seen\n'
    (project / "README.md").write_text(page + "```\n")
    git(project, "init", "--quiet")
    git(project, "add", "README.md")
    git(project, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", "Begin")
    (project / "README.md").write_text("Not committed.\n")
    told = list[str]()
    steps = list(follow_page(project, told.append))
    assert (
        told == [step.command for step in steps] == ['test -z "$(ls $HOME)"', "ls -a > $HOME/seen"]
    )
    (project / "README.md").write_text(page + "echo no way >&2; exit 3\n```\n")
    git(project, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-am", "Fail")
    with pytest.raises(BenchError, match=r"exit 3 failed in a fresh clone of \w{12}: no way"):
        list(follow_page(project, told.append))
