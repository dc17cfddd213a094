"""A project small enough to be made for every test.

An upstream repository with three releases, a series of three topics on the first of them,
and both ways to upstream's source: a git submodule, or an sdist that lies where a download
would have put it. Everything is real: git repositories, patch files, doors as processes.

The series: `core` (two patches), `fast` (needs `core`: it changes the same line, and adds a
test), `lone` (a CRLF file and one whose name is not ASCII). Release 1.1 moves the code that
`core` changes; 1.2 holds the first patch of `core`, and the change of `lone` in other words.
"""

import gzip
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from patchstack.apply import Comparison, apply_series, check_applied
from patchstack.export import Export, export_branches
from patchstack.project import Project
from patchstack.series import Series, load_series
from patchstack.source import Source, pinned_source

ROOT = Path(__file__).resolve().parent.parent
# As it is before the sandboxes' own settings.
MACHINE = dict(os.environ)
RELEASE = "1.0"
TOPICS = ("core", "fast", "lone")
BRANCHES = ("perf/core", "perf/fast", "perf/lone", "perf/series")
ZEROS = "0" * 40

# Both in the source's path and in the user's name: nothing may need them to be ASCII.
FOLDER = "my prøject"
USER = "Zoë Contributor"

STORE = "".join(
    f"def step_{n:02}(value):\n    # Step {n}.\n    return value + {n}\n\n\n" for n in range(12)
)
UPSTREAM = {
    "metaflow/__init__.py": b'"""Upstream."""\n',
    "metaflow/store.py": STORE.encode(),
    "metaflow/version.py": b'metaflow_version = "1.0"\n',
    "metaflow/crlf.py": b"first = 1\r\nsecond = 2\r\nthird = 3\r\n",
    "metaflow/größe.py": "größe = 1\nmaß = 2\n".encode(),
    "metaflow/latin.py": b"# -*- coding: latin-1 -*-\nname = 'J\xf6rg'\nsize = 1\n",
    "setup.py": b'from setuptools import setup\n\nsetup(name="metaflow", version="1.0")\n',
    "test/unit/test_store.py": b"def test_store():\n    assert 1 + 1 == 2\n",
    "docs/store.md": b"# Store\n\nHow values are kept.\n",
}
NOT_IN_SDIST = ("test/", "docs/")

FAST_STEP_2 = ("    return value + 2\n", "    return 2 + value\n")
FASTER_STEP_2 = ("    return 2 + value\n", "    return 2 + int(value)\n")
EXACT_STEP_9 = ("    return value + 9\n", "    return value + 9.0\n")
CRLF_SECOND = ("second = 2\r\n", "second = 22\r\n")

# Patch files the way the project keeps them, said once more in git's own words.
FORMAT_PATCH = (
    *("format-patch", "--quiet", "--zero-commit", "--no-signature", "--no-numbered", "--no-stat"),
    *("--full-index", "--no-encode-email-headers"),
)

Edit = tuple[str, str] | str | bytes | None


def clean_environment(**extra: str) -> dict[str, str]:
    """The machine's environment without its git and pip settings, plus `extra`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "PIP_", "XDG_"))}
    settings = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PIP_CONFIG_FILE": os.devnull,
        # No test may reach the network by accident: 9 is the discard port, closed everywhere.
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple/",
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
    }
    return kept | settings | extra


def run_door(root: Path, name: str, umask: int = -1) -> str:
    """Run a door that must succeed, with the machine's way to the package index; its output."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py")],
        cwd=root,
        env=MACHINE,
        capture_output=True,
        text=True,
        check=False,
        umask=umask,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def git(folder: Path, *args: str, env: dict[str, str] | None = None) -> str:
    """Run the contributor's git and return what it printed."""
    identity = {
        "GIT_AUTHOR_NAME": USER,
        "GIT_AUTHOR_EMAIL": "zoe@example.org",
        "GIT_AUTHOR_DATE": "2024-02-03T04:05:06+0530",
        "GIT_COMMITTER_NAME": USER,
        "GIT_COMMITTER_EMAIL": "zoe@example.org",
        "GIT_COMMITTER_DATE": "2024-02-03T04:05:06+0530",
    }
    # Submodules from a folder are refused by default; names and line endings stay as they are.
    settings = ("protocol.file.allow=always", "core.autocrlf=false", "core.quotePath=false")
    options = [option for setting in settings for option in ("-c", setting)]
    done = subprocess.run(
        ["git", *options, *args],
        cwd=folder,
        env=clean_environment() | identity | (env or {}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"git {args}: {done.stderr.decode()}"
    return done.stdout.decode(errors="surrogateescape").strip("\n")


def blob(folder: Path, revision: str, path: str) -> bytes:
    """The bytes of a file at a revision."""
    show = ["git", "cat-file", "blob", f"{revision}:{path}"]
    env = clean_environment()
    return subprocess.run(show, cwd=folder, env=env, capture_output=True, check=True).stdout


def edit(folder: Path, changes: dict[str, Edit]) -> None:
    """Change files: a pair replaces text, a text or bytes is a whole file, None deletes it."""
    for name, change in changes.items():
        file = folder / name
        if change is None:
            file.unlink()
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(change, tuple):
            before, after = (text.encode() for text in change)
            data = file.read_bytes()
            assert data.count(before) == 1, f"{before!r} is not once in {name}"
            file.write_bytes(data.replace(before, after))
        else:
            file.write_bytes(change.encode() if isinstance(change, str) else change)


def commit(
    folder: Path, message: str, changes: dict[str, Edit], *args: str, env: dict[str, str] | None
) -> str:
    edit(folder, changes)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message, *args, env=env)
    return git(folder, "rev-parse", "HEAD")


def require(what: str) -> NoReturn:
    """CI has every tool; elsewhere a test without its tool says so."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}: in CI this is no reason to skip")
    pytest.skip(what)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Sandbox:
    """A checkout of the project, and what a contributor does with it."""

    root: Path
    kind: str

    @property
    def project(self) -> Project:
        return Project(self.root)

    @property
    def tree(self) -> Path:
        """The work tree of upstream that the contributor edits in."""
        if self.kind == "submodule":
            return self.root / "metaflow"
        return self.root / "build" / "upstream" / RELEASE

    @property
    def git_folder(self) -> Path:
        """The repository behind `tree`."""
        return Path(self.git("rev-parse", "--path-format=absolute", "--git-dir"))

    # The contributor.

    def git(self, *args: str, env: dict[str, str] | None = None) -> str:
        return git(self.tree, *args, env=env)

    def switch(self, branch: str) -> None:
        self.git("switch", "--quiet", branch)

    def leave(self) -> None:
        """Have no branch checked out, so that apply may move all of them."""
        self.git("switch", "--quiet", "--detach")

    def commit(
        self,
        message: str,
        changes: dict[str, Edit],
        *args: str,
        env: dict[str, str] | None = None,
    ) -> str:
        return commit(self.tree, message, changes, *args, env=env)

    def rebase(self, todo: str, *args: str) -> None:
        """`git rebase --interactive` with an editor that leaves `todo` as the plan."""
        plan = self.root / "build" / "todo"
        plan.write_text(todo)
        # The editor gets the file to fill in as its argument, after this command.
        editor = f"cp '{plan}'"
        self.git("rebase", "--quiet", "--interactive", *args, env={"GIT_SEQUENCE_EDITOR": editor})
        plan.unlink()

    def edit_series(self, *replacements: tuple[str, str]) -> None:
        """Edit series.toml by hand; each text to replace is there exactly once."""
        for pair in replacements:
            edit(self.root, {"patches/series.toml": pair})

    def remove_topic(self, name: str) -> None:
        """Take a topic out of the series by hand: its table and its folder."""
        file = self.project.series_file
        tables = file.read_text(encoding="utf-8").split("[[topic]]\n")
        kept = [table for table in tables if f'name = "{name}"' not in table]
        assert len(kept) == len(tables) - 1
        file.write_text("[[topic]]\n".join(kept), encoding="utf-8")
        shutil.rmtree(self.project.patches / name)

    # The engine.

    def series(self) -> Series:
        return load_series(self.project)

    def source(self) -> Source:
        return pinned_source(self.project, self.series().pin)

    def apply(self) -> Comparison:
        return apply_series(self.project, self.series(), self.source())

    def check(self) -> Comparison:
        return check_applied(self.project, self.series(), self.source())

    def export(self, *names: str, new_to: str | None = None) -> Export:
        return export_branches(self.project, self.series(), self.source(), names, new_to)

    # The doors.

    def door(self, name: str, *args: str, cwd: Path | None = None, **env: str) -> Ended:
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *args],
            cwd=cwd or self.root,
            env=clean_environment(**env),
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def opens(self, name: str, *args: str, **env: str) -> str:
        """Run a door that must succeed; what it printed."""
        ended = self.door(name, *args, **env)
        assert ended.code == 0, ended.err
        return ended.out

    def refused(self, name: str, *args: str, **env: str) -> str:
        """Run a door that must refuse: exit code 1, and this one line on standard error."""
        ended = self.door(name, *args, **env)
        assert ended.code == 1, ended
        assert ended.err.startswith(f"{name}: "), ended.err
        assert ended.err.count("\n") == 1, ended.err
        assert ended.out == ""
        return ended.err

    def follow(self, line: str, start: str) -> None:
        """Run the command that a refusal proposes, the one that begins with `start`."""
        proposed = [
            command for command in re.findall(r"`(.+?)`", line) if command.startswith(start)
        ]
        assert len(proposed) == 1, line
        program, *args = shlex.split(proposed[0])
        if program == "git":
            git(self.root, *args)
        else:
            assert program == "make"
            self.opens(f"{args[0]}_patches", *(arg.removeprefix("ARGS=") for arg in args[1:]))

    # What there is.

    def refs(self) -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ") for line in lines)

    def branches(self) -> dict[str, str]:
        """Branches of the series, and those that stale ones would be among."""
        prefix = "refs/heads/"
        refs = {name: sha for name, sha in self.refs().items() if name.startswith(prefix + "perf/")}
        return {name.removeprefix(prefix): sha for name, sha in refs.items()}

    def log(self, branch: str, fields: str = "%s") -> list[str]:
        """Commits of a branch on the release, oldest first."""
        shown = self.git("log", "--reverse", f"--format={fields}%x00", f"{self.base}..{branch}")
        return [entry.strip("\n") for entry in shown.split("\0")[:-1]]

    @property
    def base(self) -> str:
        if self.kind == "submodule":
            return self.git("rev-parse", f"refs/tags/{RELEASE}^{{commit}}")
        return self.git("rev-parse", "refs/patchstack/sdist")

    def file(self, revision: str, path: str) -> bytes:
        return blob(self.tree, revision, path)

    def patches(self) -> dict[str, bytes]:
        """Every file under patches/."""
        return contents(self.project.patches)

    def subjects(self, topic: str) -> list[str]:
        return [patch.subject for patch in self.series().patches[topic]]

    def state(self) -> tuple[dict[str, str], dict[str, bytes], str]:
        """All that a contributor would miss: refs, patches, and the work tree's status."""
        return self.refs(), self.patches(), self.git("status", "--porcelain")

    def snapshot(self) -> dict[str, tuple[bytes, int]]:
        """Every file of the project with its time, but for the lock file of the engine.

        Git renews the time of an object that it would have written: that says nothing.
        """
        return {
            str(file.relative_to(self.root)): (
                file.read_bytes(),
                0 if "objects" in file.parts else file.stat().st_mtime_ns,
            )
            for file in sorted(self.root.rglob("*"))
            if file.is_file() and file != self.project.build / "lock"
        }


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def make_upstream(folder: Path, **more: Edit) -> Path:
    """Upstream's repository with the releases 1.0, 1.1 and 1.2; `more` files from the first on."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=master")
    _release(folder, "1.0", UPSTREAM | more)
    moved: Edit = '"""Steps, now with\na docstring."""\n\n\n' + STORE
    _release(folder, "1.1", {"metaflow/store.py": moved} | _version("1.0", "1.1"))
    landed: dict[str, Edit] = {
        "metaflow/store.py": FAST_STEP_2,
        "metaflow/crlf.py": ("second = 2\r\n", "second = 20 + 2\r\n"),
    }
    _release(folder, "1.2", landed | _version("1.1", "1.2"))
    return folder


def _version(old: str, new: str) -> dict[str, Edit]:
    return {"metaflow/version.py": (old, new), "setup.py": (old, new)}


def _release(folder: Path, release: str, changes: dict[str, Edit]) -> None:
    commit(folder, f"Release {release}", changes, env=None)
    git(folder, "tag", release)


def make_sdist(upstream: Path, archive: Path, release: str = RELEASE) -> str:
    """The sdist of a release: without tests and documents, with what a build adds; its sha256."""
    top = f"metaflow-{release}"
    tracked = git(upstream, "ls-tree", "-r", "--name-only", release)
    files = {
        name: blob(upstream, release, name)
        for name in tracked.splitlines()
        if not name.startswith(NOT_IN_SDIST)
    }
    about = f"Metadata-Version: 2.1\nName: metaflow\nVersion: {release}\n".encode()
    files |= {"PKG-INFO": about, "metaflow.egg-info/PKG-INFO": about}
    archive.parent.mkdir(parents=True, exist_ok=True)
    # Without a time in it, so that all sandboxes have the same archive and the same series.
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, data in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def make_project(root: Path, upstream: Path, kind: str) -> Sandbox:
    """A project with the series of this module, not yet applied."""
    sandbox = Sandbox(root, kind)
    root.mkdir(parents=True)
    sha256 = make_sdist(upstream, root / "build" / "sdist" / f"metaflow-{RELEASE}.tar.gz")
    listed = _write_patches(sandbox, upstream)
    pinned = git(upstream, "rev-parse", f"{RELEASE}^{{commit}}")
    sandbox.project.series_file.write_text(_series_toml(pinned, sha256, listed), encoding="utf-8")
    if kind == "submodule":
        git(root, "init", "--quiet")
        git(root, "submodule", "--quiet", "add", str(upstream), "metaflow")
        sandbox.git("checkout", "--quiet", "--detach", RELEASE)
    return sandbox


def _write_patches(sandbox: Sandbox, upstream: Path) -> dict[str, list[str]]:
    """The patches of the topics, written by git from commits made by hand."""
    work = sandbox.root / "build" / "author"
    git(sandbox.root, "clone", "--quiet", str(upstream), str(work))
    jörg = {
        "GIT_AUTHOR_NAME": "Ünlü, Jörg",
        "GIT_AUTHOR_EMAIL": "jörg@example.org",
        "GIT_AUTHOR_DATE": "2023-12-31T23:59:58-0330",
    }
    paragraphs = "[core] Keep step 9 exact\n\nWhy: größer is not\nalways better.\n\n- one\n- two\n"
    store = "metaflow/store.py"
    test = "def test_fast():\n    assert True\n"
    git(work, "checkout", "--quiet", "-b", "core", RELEASE)
    commit(work, "Add the faster step 2", {store: FAST_STEP_2}, env=None)
    commit(work, paragraphs, {store: EXACT_STEP_9}, env=jörg)
    git(work, "checkout", "--quiet", "-b", "fast")
    commit(work, "Make step 2 faster still", {store: FASTER_STEP_2}, env=None)
    commit(work, "Test the fast steps", {"test/unit/test_fast.py": test}, env=None)
    git(work, "checkout", "--quiet", "-b", "lone", RELEASE)
    lone: dict[str, Edit] = {"metaflow/crlf.py": CRLF_SECOND, "metaflow/größe.py": ("maß", "Maß")}
    commit(work, "Ändere Größen", lone, env=jörg)
    listed = {}
    for topic, start in (("core", RELEASE), ("fast", "core"), ("lone", RELEASE)):
        folder = sandbox.project.patches / topic
        git(work, *FORMAT_PATCH, "--output-directory", str(folder), f"{start}..{topic}")
        listed[topic] = sorted(file.name for file in folder.iterdir())
    shutil.rmtree(work)
    return listed


def _series_toml(pinned: str, sha256: str, listed: dict[str, list[str]]) -> str:
    head = f"""\
# A comment that every tool keeps.
[pin]
repository = "https://upstream.invalid/metaflow"
release = "{RELEASE}"
commit = "{pinned}"
sdist_sha256 = "{sha256}"

[fork]
repository = "https://fork.invalid/metaflow"

[integration]
branch = "perf/series"
wheel = 1
"""
    return head + "".join(topic_table(name, patches) for name, patches in listed.items())


def topic_table(name: str, patches: list[str]) -> str:
    """The table of a topic in series.toml."""
    depends_on = 'depends_on = ["core"]\n' if name == "fast" else ""
    names = ", ".join(f'"{patch}"' for patch in patches)
    return f"""
[[topic]]
name = "{name}"
title = "The topic {name}"
branch = "perf/{name}"
{depends_on}intent = "submit"
reason = "measured"  # by hand
patches = [{names}]
"""
