"""Upstream's source: the submodule where there is one, else an sdist that is what it should be."""

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox import RELEASE, USER, Sandbox, contents, git, make_sdist

from patchstack.errors import SourceError
from patchstack.git import Repo
from patchstack.source import Kind, _commit_sdist, release_source, source_tree

MakeSandbox = Callable[..., Sandbox]


def test_an_initialized_submodule_is_the_source(submodule: Sandbox) -> None:
    source = submodule.source()
    assert source.kind is Kind.SUBMODULE
    assert source.base == submodule.git("rev-parse", RELEASE)
    assert not (submodule.project.build / "upstream").exists()


def test_a_submodule_that_is_not_initialized_is_none(submodule: Sandbox) -> None:
    git(submodule.root, "submodule", "--quiet", "deinit", "--force", "metaflow")
    assert submodule.source().kind is Kind.SDIST


def test_a_submodule_without_the_pinned_commit(
    submodule: Sandbox, upstream: Path, tmp_path: Path
) -> None:
    """As after a pull that moved the pin, until the submodule follows."""
    origin = tmp_path / "origin"
    shutil.copytree(upstream, origin)
    git(origin, "commit", "--quiet", "--allow-empty", "--message", "Release 1.3")
    pinned = git(origin, "rev-parse", "HEAD")
    git(submodule.root, "config", "submodule.metaflow.url", str(origin))
    submodule.git("remote", "set-url", "origin", str(origin))
    submodule.edit_series((submodule.base, pinned))
    git(submodule.root, "update-index", "--cacheinfo", f"160000,{pinned},metaflow")
    before = submodule.refs()
    line = submodule.refused("apply_patches")
    assert pinned[:12] in line
    assert submodule.refs() == before
    submodule.follow(line, "git submodule update")
    # The commit is found now: upstream has landed the first patch there, so that one fails.
    assert "0001-Add-the-faster-step-2.patch" in submodule.refused("apply_patches")


def test_the_sdist_is_upstreams_files_and_no_more(sdist: Sandbox, submodule: Sandbox) -> None:
    files = sdist.git("ls-tree", "-r", sdist.base)
    of_upstream = submodule.git("ls-tree", "-r", submodule.base).splitlines()
    wanted = [
        line for line in of_upstream if not line.split("\t")[1].startswith(("test/", "docs/"))
    ]
    assert files.splitlines() == wanted
    assert sdist.git("status", "--porcelain") == ""


def test_what_running_metaflow_leaves_is_no_change(sdist: Sandbox) -> None:
    for name in ("metaflow/__pycache__/x.pyc", "metaflow.egg-info/PKG-INFO", "build/lib/x.py"):
        (sdist.tree / name).parent.mkdir(parents=True)
        (sdist.tree / name).write_bytes(b"")
    sdist.opens("apply_patches")


def test_commits_on_the_sdist_are_the_contributors(sdist: Sandbox) -> None:
    """The fixed author of upstream's commit is for that commit alone."""
    sdist.switch("perf/lone")
    sdist.commit("Mine", {"metaflow/mine.py": "mine = 1\n"})
    assert sdist.log("perf/lone", "%an %cn")[-1] == f"{USER} {USER}"
    identities = sdist.git("log", "-1", "--format=%an %at %cn %ct", sdist.base)
    assert identities == "metaflow-perf 946684800 metaflow-perf 946684800"


def test_the_same_archive_is_the_same_commit(make_sandbox: MakeSandbox) -> None:
    bases = []
    for name in ("one", "two"):
        sandbox = make_sandbox("sdist", applied=False, name=name)
        bases.append(sandbox.source().base)
    assert bases[0] == bases[1]


def index_of(folder: Path, upstream: Path) -> str:
    """A package index in a folder that has the sdist of the release, and only that."""
    project = folder / "simple" / "metaflow"
    name = f"metaflow-{RELEASE}.tar.gz"
    sha256 = make_sdist(upstream, project / name)
    link = f'<a href="{name}#sha256={sha256}">{name}</a>'
    (project / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    return (folder / "simple").as_uri()


def without_archive(make_sandbox: MakeSandbox) -> Sandbox:
    sandbox = make_sandbox("sdist", applied=False)
    shutil.rmtree(sandbox.project.build)
    return sandbox


def test_another_sha256_of_the_fetched_sdist(
    make_sandbox: MakeSandbox, upstream: Path, tmp_path: Path
) -> None:
    sandbox = without_archive(make_sandbox)
    pinned = sandbox.series().pin.sdist_sha256
    sandbox.edit_series((pinned, "0" * 64))
    line = sandbox.refused("apply_patches", PIP_INDEX_URL=index_of(tmp_path, upstream))
    assert "0" * 64 in line
    assert "correct pin.sdist_sha256" in line
    assert list(contents(sandbox.project.build)) == ["lock"]


def test_a_release_that_the_index_does_not_have(
    make_sandbox: MakeSandbox, upstream: Path, tmp_path: Path
) -> None:
    sandbox = without_archive(make_sandbox)
    sandbox.edit_series((f'release = "{RELEASE}"', 'release = "7.7"'))
    line = sandbox.refused("apply_patches", PIP_INDEX_URL=index_of(tmp_path, upstream))
    assert "no sdist of metaflow 7.7" in line
    assert "check the number" in line
    assert list(contents(sandbox.project.build)) == ["lock"]


def test_another_release_is_a_tag_of_the_submodule(submodule: Sandbox) -> None:
    source = release_source(submodule.project, "1.1")
    assert (source.kind, source.release) == (Kind.SUBMODULE, "1.1")
    assert source.base == submodule.git("rev-parse", "1.1")


def test_another_release_is_an_sdist_where_there_is_no_tag(sdist: Sandbox, upstream: Path) -> None:
    make_sdist(upstream, sdist.project.build / "sdist" / "metaflow-1.2.tar.gz", "1.2")
    source = release_source(sdist.project, "1.2")
    assert (source.kind, source.release) == (Kind.SDIST, "1.2")
    assert source.file("metaflow/version.py") == b'metaflow_version = "1.2"\n'
    assert source.file("metaflow/none.py") is None
    assert source.has("setup.py")
    assert not source.has("test/unit/test_store.py")


def test_a_release_that_cannot_be_had(sdist: Sandbox) -> None:
    with pytest.raises(SourceError, match=r"metaflow 1\.9: .*check the network"):
        release_source(sdist.project, "1.9")


def test_who_last_touched_a_file(submodule: Sandbox, sdist: Sandbox) -> None:
    moved = release_source(submodule.project, "1.1")
    assert moved.last_change("metaflow/store.py").endswith(" 2024-02-03 Release 1.1")
    assert moved.last_change("metaflow/crlf.py").endswith(" 2024-02-03 Release 1.0")
    assert "no history" in sdist.source().last_change("metaflow/store.py")


def test_a_source_tree_is_the_files_of_a_commit(sandbox: Sandbox) -> None:
    commit = sandbox.branches()["perf/series"]
    tree = source_tree(sandbox.project, sandbox.source(), commit)
    sandbox.git("checkout", "--quiet", "--detach", commit)
    found = contents(sandbox.tree)
    expected = {name: data for name, data in found.items() if not name.startswith(".git")}
    assert contents(tree) == expected


def test_a_source_tree_is_made_once_for_a_content(submodule: Sandbox) -> None:
    source = submodule.source()
    first = source_tree(submodule.project, source, submodule.branches()["perf/core"])
    mark = first / "metaflow" / "__pycache__" / "mark.pyc"
    mark.parent.mkdir()
    mark.write_bytes(b"")
    submodule.switch("perf/core")
    submodule.git("commit", "--quiet", "--amend", "--message", "The same files")
    again = source_tree(submodule.project, source, submodule.git("rev-parse", "HEAD"))
    assert again == first
    assert mark.is_file()
    other = source_tree(submodule.project, source, submodule.branches()["perf/lone"])
    assert other != first
    assert Repo(submodule.tree).commit("perf/lone") is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "metaflow" / "store.py").write_bytes(b"edited = 1\n"),
        lambda tree: (tree / "metaflow" / "store.py").unlink(),
        lambda tree: (tree / "metaflow" / "new.py").write_bytes(b""),
    ],
    ids=["edited", "deleted", "added"],
)
def test_a_source_tree_that_was_changed_is_made_anew(
    submodule: Sandbox, change: Callable[[Path], None]
) -> None:
    commit = submodule.branches()["perf/series"]
    tree = source_tree(submodule.project, submodule.source(), commit)
    expected = contents(tree)
    change(tree)
    assert source_tree(submodule.project, submodule.source(), commit) == tree
    assert contents(tree) == expected


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_repository_of_another_user(sandbox: Sandbox) -> None:
    for path in (sandbox.tree, sandbox.tree / ".git", sandbox.git_folder):
        os.chown(path, 65534, 65534)
    assert "belongs to another user" in sandbox.refused("apply_patches")


def test_a_repository_made_of_another_archive_is_not_trusted(sdist: Sandbox) -> None:
    sha256 = sdist.series().pin.sdist_sha256
    sdist.edit_series((sha256, "0" * 64))
    shutil.rmtree(sdist.root / "build" / "sdist")
    line = sdist.refused("apply_patches")
    assert f"was made of an sdist with sha256 {sha256}" in line
    assert "move it away, with any branches of yours" in line


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of somebody else")
def test_root_owns_what_it_unpacks(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)  # as in Debian 12
    archive, tree = tmp_path / "metaflow-1.0.tar.gz", tmp_path / "new" / "tree"
    with tarfile.open(archive, "w:gz") as sdist:
        member = tarfile.TarInfo("metaflow-1.0/setup.py")
        member.uid = member.gid = 12345
        sdist.addfile(member)
    tree.parent.mkdir()
    _commit_sdist(archive, tree)
    assert (tree / "setup.py").stat().st_uid == 0
