"""Upstream's source at a release, as a git repository with one commit to build on.

The submodule where it is initialized. Elsewhere the sdist of the same release stands in:
fetched through pip, because pip knows the user's index, proxy and certificates, and
because it checks the sha256 before it runs anything of the archive. The sdist becomes a
git repository with a fixed author and date, so that everything after it is one code path.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from patchstack.errors import SourceError
from patchstack.git import Repo, scratch
from patchstack.project import Project
from patchstack.series import Pin

# Author, committer and dates of the commit made of an sdist: fixed, so that the same
# archive always gives the same commit id.
SDIST_IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (
        ("NAME", "metaflow-perf"),
        ("EMAIL", "metaflow-perf@localhost"),
        ("DATE", "2000-01-01T00:00:00+0000"),
    )
}


# The repository's own configuration may ask for signatures, which would stand before it.
LAST_CHANGE = ("log", "-1", "--no-show-signature", "--format=%h %as %s")


class Kind(str, Enum):
    SUBMODULE = "submodule"
    SDIST = "sdist"


@dataclass(frozen=True)
class Source:
    """A repository and the commit in it that is upstream's release."""

    repo: Repo
    base: str
    release: str
    kind: Kind

    def file(self, path: str) -> bytes | None:
        """The content of a file at the release, or None where it has none."""
        done = self.repo.run("cat-file", "blob", f"{self.base}:{path}")
        return None if done.returncode else done.stdout

    def has(self, path: str) -> bool:
        return self.repo.run("cat-file", "-e", f"{self.base}:{path}").returncode == 0

    def last_change(self, path: str) -> str:
        """The upstream commit that last touched `path`, for people."""
        if self.kind is Kind.SDIST:
            return f"release {self.release} (an sdist has no history)"
        return self.repo.text(*LAST_CHANGE, self.base, "--", path) or "none"


def pinned_source(project: Project, pin: Pin) -> Source:
    """Upstream at the pin: the submodule if it is initialized, else the sdist."""
    if (project.submodule / ".git").exists():
        repo = Repo(project.submodule)
        if repo.commit(pin.commit) is None:
            raise SourceError(
                f"the submodule {project.show(project.submodule)} does not have the pinned commit "
                f"{pin.commit[:12]}: run `git submodule update --init`"
            )
        return Source(repo, pin.commit, pin.release, Kind.SUBMODULE)
    return sdist_source(project, pin.release, pin.sdist_sha256)


def clone_source(pin: Pin, clone: Path) -> Source:
    """Upstream at the pin in any clone with its history, to be read through a scratch."""
    if not clone.is_dir() or Repo(clone).run("rev-parse", "--git-dir").returncode:
        raise SourceError(f"{clone} is no git repository: name a clone of {pin.repository}")
    if Repo(clone).commit(pin.commit) is None:
        raise SourceError(f"{clone} does not have the pinned commit {pin.commit[:12]}: fetch it")
    return Source(Repo(clone), pin.commit, pin.release, Kind.SUBMODULE)


def release_source(project: Project, release: str) -> Source:
    """Upstream at any release: a tag of the submodule, else the sdist."""
    if (project.submodule / ".git").exists():
        repo = Repo(project.submodule)
        base = repo.commit(f"refs/tags/{release}")
        if base is not None:
            return Source(repo, base, release, Kind.SUBMODULE)
    return sdist_source(project, release, None)


def sdist_path(project: Project, release: str) -> Path:
    return project.build / "sdist" / f"metaflow-{release}.tar.gz"


def sdist_source(project: Project, release: str, sha256: str | None) -> Source:
    """The sdist of `release` as a repository under build/upstream/, made on first use."""
    folder = project.build / "upstream" / release
    with project.exclusive():  # another one may be making it
        if sdist_path(project, release).is_file():
            _fetch_sdist(project, release, sha256)  # the pin's sha256 may have changed since
        if not folder.exists():
            archive = _fetch_sdist(project, release, sha256)
            with project.temporary_folder() as temporary:
                _commit_sdist(archive, temporary / "tree")
                folder.parent.mkdir(parents=True, exist_ok=True)
                (temporary / "tree").replace(folder)
    repo = Repo(folder)
    # Without its own .git, git would answer for the project's repository.
    base = repo.commit("refs/patchstack/sdist") if (folder / ".git").exists() else None
    aside = "move it away, with any branches of yours that it holds, and run again"
    if base is None:
        raise SourceError(f"{project.show(folder)} is damaged: {aside}")
    if sha256 not in (None, made := repo.text("log", "-1", "--format=%b", base).partition(" ")[2]):
        raise SourceError(
            f"{project.show(folder)} was made of an sdist with sha256 {made}, the pin says "
            f"{sha256}: correct pin.sdist_sha256, or {aside}"
        )
    return Source(repo, base, release, Kind.SDIST)


def sha256_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _fetch_sdist(project: Project, release: str, sha256: str | None) -> Path:
    """Download the sdist through pip, or find it already there; check its sha256."""
    archive = sdist_path(project, release)
    if not archive.is_file():
        with project.temporary_folder() as folder:
            _pip_download(folder, release, sha256)
            fetched = next(folder.glob("*.tar.gz"))
            archive.parent.mkdir(parents=True, exist_ok=True)
            fetched.replace(archive)
    if sha256 is not None and sha256_of(archive) != sha256:
        raise SourceError(
            f"{project.show(archive)} has sha256 {sha256_of(archive)}, the pin says {sha256}: "
            "delete the file if it is damaged, or correct pin.sdist_sha256"
        )
    return archive


def _pip_download(folder: Path, release: str, sha256: str | None) -> None:
    wanted = folder / "requirements.txt"
    pinned = f" --hash=sha256:{sha256}" if sha256 else ""
    wanted.write_text(f"metaflow=={release}{pinned}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return
    said = done.stderr + done.stdout
    if "DO NOT MATCH THE HASHES" in said:
        raise SourceError(
            f"the sdist of metaflow {release} does not have the pinned sha256 {sha256}: correct "
            "pin.sdist_sha256 in patches/series.toml, or do not trust the index"
        )
    if "(from versions: none)" in said:
        raise SourceError(
            f"cannot fetch the sdist of metaflow {release}: the package index does not answer; "
            "check the network and pip's index settings, or initialize the submodule, with its tags"
        )
    if "No matching distribution" in said:
        raise SourceError(f"the package index has no sdist of metaflow {release}: check the number")
    last = (said.strip().splitlines() or ["no output"])[-1]
    raise SourceError(f"pip could not fetch the sdist of metaflow {release}: {last}")


def _commit_sdist(archive: Path, tree: Path) -> None:
    """Unpack an sdist and commit what it has of upstream's tree."""
    # The filter came with security releases of 3.10 and 3.11; Debian 12 has an older one.
    safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(archive) as sdist:
        for member in sdist.getmembers():
            # Not the packager's, where root unpacks: git refuses what somebody else owns.
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        sdist.extractall(tree.parent / "unpacked", **safe)
    next((tree.parent / "unpacked").iterdir()).replace(tree)
    # What the build added is not upstream's: it would be swept into commits and wheels.
    (tree / "PKG-INFO").unlink(missing_ok=True)
    for added in tree.glob("*.egg-info"):
        shutil.rmtree(added)
    repo = Repo(tree, SDIST_IDENTITY)
    repo.git("init", "--quiet", "--template=", ".")
    # The user's commits land here: their name is git's to find, line endings are not.
    repo.git("config", "core.autocrlf", "false")
    repo.git("add", "--all", "--force", ".")
    commit = repo.text(
        "commit-tree",
        *("-m", archive.name, "-m", f"sha256 {sha256_of(archive)}"),
        repo.text("write-tree"),
    )
    repo.git("update-ref", "refs/patchstack/sdist", commit)
    repo.git("checkout", "--quiet", "--detach", commit)
    (tree / ".git" / "info").mkdir(exist_ok=True)
    (tree / ".git" / "info" / "exclude").write_text("__pycache__/\n*.egg-info/\nbuild/\n")


def source_tree(project: Project, source: Source, commit: str) -> Path:
    """The files of a commit, unpacked once under build/trees/ by the id of their tree.

    Benchmarks and tests run from here. A folder whose files are no longer those of its tree
    is made anew; bytecode that a run left there is not looked at.
    """
    tree = source.repo.text("rev-parse", f"{commit}^{{tree}}")
    folder = project.build / "trees" / tree
    # Another one may be making it.
    with project.exclusive(), scratch(project, source.repo, keep_objects=False) as repo:
        repo.git("read-tree", tree)
        if folder.is_dir() and not _differences(repo, folder):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        repo.git("checkout-index", "--all", f"--prefix={repo.path}/files/")
        folder.parent.mkdir(parents=True, exist_ok=True)
        (repo.path / "files").replace(folder)
    return folder


def _differences(repo: Repo, folder: Path) -> list[str]:
    """Paths in which `folder` is not what the index of `repo` says."""
    kinds = ("--modified", "--deleted", "--others", "--exclude=__pycache__/")
    return repo.lines(f"--work-tree={folder}", "ls-files", *kinds)
