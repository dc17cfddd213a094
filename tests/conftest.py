"""Sandboxes: made once for the session, copied for every test that wants one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox import FOLDER, ROOT, Sandbox, clean_environment, make_project, make_upstream

from bench.environments import Tree
from patchstack.prefix import prefix
from patchstack.project import Project
from patchstack.series import load_series
from patchstack.source import pinned_source, sdist_path

MakeSandbox = Callable[..., Sandbox]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine called in this process finds what a door finds: nothing of the machine's."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    for name, value in clean_environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upstream's repository: tests read it, and never write to it."""
    return make_upstream(tmp_path_factory.mktemp("upstream") / "metaflow")


@pytest.fixture(scope="session")
def templates(
    tmp_path_factory: pytest.TempPathFactory, upstream: Path
) -> Callable[[str, bool], Sandbox]:
    made: dict[tuple[str, bool], Sandbox] = {}

    def template(kind: str, applied: bool) -> Sandbox:
        if (kind, applied) not in made:
            root = tmp_path_factory.mktemp(kind) / FOLDER
            sandbox = make_project(root, upstream, kind)
            if applied:
                sandbox.apply()
            made[kind, applied] = sandbox
        return made[kind, applied]

    return template


@pytest.fixture
def make_sandbox(tmp_path: Path, templates: Callable[[str, bool], Sandbox]) -> MakeSandbox:
    """Make a project; several of one test stand for several machines."""

    def make(kind: str, *, applied: bool = True, name: str | None = None) -> Sandbox:
        template = templates(kind, applied)
        root = tmp_path / (name or kind) / FOLDER
        # Links stay links, and times stay: git would take every file for a changed one.
        shutil.copytree(template.root, root, symlinks=True)
        return Sandbox(root, kind)

    return make


@pytest.fixture(params=["submodule", "sdist"])
def sandbox(request: pytest.FixtureRequest, make_sandbox: MakeSandbox) -> Sandbox:
    """An applied project on each kind of source."""
    return make_sandbox(request.param)


@pytest.fixture
def submodule(make_sandbox: MakeSandbox) -> Sandbox:
    return make_sandbox("submodule")


@pytest.fixture
def sdist(make_sandbox: MakeSandbox) -> Sandbox:
    return make_sandbox("sdist")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout of this project without its submodule, with the series of this one."""
    ours, project = Project(ROOT), Project(tmp_path_factory.mktemp("release") / "project")
    shutil.copytree(ours.patches, project.patches, ignore=shutil.ignore_patterns(".staged"))
    archive = sdist_path(ours, load_series(ours).pin.release)
    if archive.is_file():
        sdist_path(project, load_series(ours).pin.release).parent.mkdir(parents=True)
        shutil.copy(archive, sdist_path(project, load_series(ours).pin.release))
    return project


@pytest.fixture(scope="session")
def stock_tree() -> Tree:
    """Upstream at the pin, as the arms have it."""
    project = Project(ROOT)
    series = load_series(project)
    made = prefix(project, series, pinned_source(project, series.pin), ())
    return Tree(made.tree, made.wheel, "-")
