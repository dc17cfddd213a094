"""Git without the user's configuration, scratches that leave no trace, one engine at a time."""

import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox import Sandbox, clean_environment

from patchstack.errors import CommandError
from patchstack.git import Repo, environment, scratch
from patchstack.project import Project


def test_the_environment_has_nothing_of_the_users_git(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_VALUE_7", "GIT_TRACE"):
        monkeypatch.setenv(name, "hostile")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert "hostile" not in environment().values()
    # What the tests cannot make hostile without changing the machine.
    assert environment()["GIT_CONFIG_NOSYSTEM"] == environment()["GIT_ATTR_NOSYSTEM"] == "1"
    assert environment()["LC_ALL"] == "C"
    assert environment()["PATH"] == os.environ["PATH"]


def test_a_failure_is_gits_own_last_words_in_one_line(submodule: Sandbox) -> None:
    with pytest.raises(CommandError) as caught:
        Repo(submodule.tree).git("cat-file", "blob", "nowhere")
    assert "cat-file" in str(caught.value)
    assert "nowhere" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_git(submodule: Sandbox) -> None:
    line = submodule.refused("apply_patches", PATH="/nonexistent")
    assert "git is not installed" in line


def test_a_repository_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is gone"):
        Repo(tmp_path / "nowhere").git("status")


def test_commits_are_oldest_first(submodule: Sandbox) -> None:
    repo = Repo(submodule.tree)
    commits = repo.commits("refs/tags/1.0", "perf/series")
    assert commits == submodule.log("perf/series", "%H")
    assert repo.is_ancestor(commits[0], commits[-1])
    assert not repo.is_ancestor(commits[-1], commits[0])


def test_no_commit_of_that_name(submodule: Sandbox) -> None:
    repo = Repo(submodule.tree)
    assert repo.commit("perf/nothing") is None
    assert repo.commit("perf/core") == submodule.branches()["perf/core"]


def test_refs_move_all_or_none(submodule: Sandbox) -> None:
    before = submodule.refs()
    base = submodule.base
    with pytest.raises(CommandError):
        Repo(submodule.tree).update_refs(
            [f"create refs/heads/new {base}", f"create refs/heads/perf/core {base}"]
        )
    assert submodule.refs() == before


def write_a_commit(repo: Repo, start: str) -> str:
    repo.git("checkout", "--quiet", "--detach", start)
    (repo.path / "new.py").write_bytes(b"new = 1\r\n")
    repo.git("add", ".")
    author = {"GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x@example.org"}
    Repo(repo.path, dict(repo.env) | author).git("commit", "--quiet", "--message", "New")
    return repo.text("rev-parse", "HEAD")


def test_a_scratch_borrows_objects_and_leaves_none(sandbox: Sandbox) -> None:
    before = sandbox.snapshot()
    with scratch(sandbox.project, Repo(sandbox.tree), keep_objects=False) as repo:
        commit = write_a_commit(repo, sandbox.base)
        folder = repo.path
    assert not folder.exists()
    assert Repo(sandbox.tree).commit(commit) is None
    assert sandbox.snapshot() == before


def test_a_scratch_may_keep_its_objects_but_nothing_else(sandbox: Sandbox) -> None:
    before = sandbox.state()
    with scratch(sandbox.project, Repo(sandbox.tree), keep_objects=True) as repo:
        commit = write_a_commit(repo, sandbox.base)
    assert Repo(sandbox.tree).commit(commit) == commit
    assert sandbox.file(commit, "new.py") == b"new = 1\r\n"
    assert sandbox.state() == before


def test_a_scratch_goes_after_a_failure(sandbox: Sandbox) -> None:
    with (
        pytest.raises(CommandError),
        scratch(sandbox.project, Repo(sandbox.tree), keep_objects=False) as repo,
    ):
        repo.git("checkout", "nowhere")
    assert not repo.path.exists()


HOLD = """
import sys
from pathlib import Path
from patchstack.project import Project
with Project(Path(sys.argv[1])).exclusive():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Callable[[], "subprocess.Popen[str]"]:
    """Start a process that holds the lock of the project in `tmp_path` until its input ends."""

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_one_engine_at_a_time(held: Callable[[], "subprocess.Popen[str]"]) -> None:
    first = held()
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    second = held()
    assert second.stdout is not None
    assert second.stderr is not None
    assert select.select([second.stderr], [], [], 60)[0]
    assert second.stderr.readline().startswith("waiting for another command")
    assert select.select([second.stdout], [], [], 0.5)[0] == []
    first.communicate("")
    assert second.stdout.readline() == "held\n"
    assert second.communicate("")[1] == ""


def test_the_lock_of_a_killed_engine_is_free_and_its_folders_go(
    held: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    killed = held()
    assert killed.stdout is not None
    assert killed.stdout.readline() == "held\n"
    (tmp_path / "build" / "tmp" / "left").mkdir(parents=True)
    killed.kill()
    killed.communicate()
    with Project(tmp_path).exclusive():
        assert not (tmp_path / "build" / "tmp").exists()


def test_who_holds_the_lock_may_take_it_again(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with project.exclusive(), project.temporary_folder() as folder:
        with project.exclusive():
            assert folder.is_dir()
        assert folder.is_dir()
    assert not folder.exists()


def test_the_project_is_found_from_below(submodule: Sandbox, tmp_path: Path) -> None:
    below = submodule.project.patches / "core"
    assert Project.find(below).root == submodule.root
    ended = submodule.door("apply_patches", cwd=below)
    assert ended.code == 0
    ended = submodule.door("apply_patches", cwd=tmp_path)
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "change to a checkout" in ended.err


DETACHED = """
import sys
from pathlib import Path
from patchstack.git import Repo
from patchstack.project import Project
root = Path(sys.argv[1])
with Project(root).exclusive():
    print("held", flush=True)
    Repo(root).run("-c", f"alias.wait=!cat '{root}/fifo'", "wait", detached=True)
"""


def test_a_detached_git_keeps_the_lock_of_a_killed_engine(
    held: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    killed = subprocess.Popen(
        [sys.executable, "-c", DETACHED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "held\n"
    git_is_waiting = (tmp_path / "fifo").open("w")  # opens once git's `cat` reads it
    killed.kill()
    killed.communicate()
    second = held()
    assert second.stdout is not None
    assert select.select([second.stdout], [], [], 0.5)[0] == []
    git_is_waiting.close()
    assert second.stdout.readline() == "held\n"
    second.communicate("")
