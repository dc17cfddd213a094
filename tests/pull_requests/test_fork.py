"""A push reaches the fork of series.toml, over what was pushed from here, or nothing at all."""

import http.server
import threading
from pathlib import Path

import pytest
from conftest import FORK, Contributor
from sandbox import git
from stub import TOKEN, Fault
from test_open_pr import forks_refs

from patchstack.errors import SeriesError
from patchstack.git import Repo
from pullrequests.errors import PushError
from pullrequests.fork import OPTIONS, Push, carry_out, remote_branch
from pullrequests.github import redact
from pullrequests.repository import Repository, repositories


@pytest.fixture
def evil(contributor: Contributor, tmp_path: Path) -> Path:
    """A repository that nothing may be pushed to, say upstream's own."""
    folder = tmp_path / "evil" / "Netflix" / "metaflow"
    git(tmp_path, "clone", "--quiet", "--bare", str(contributor.github.fork_git), str(folder))
    return folder


def rewrites(fork: str, evil: str) -> dict[str, str]:
    """Every way of git to send a push for one URL to another."""
    return {
        f"url.{evil}.insteadOf": fork,
        f"url.{evil}.pushInsteadOf": fork,
        "remote.origin.url": evil,
        "remote.origin.pushurl": evil,
        f"remote.{fork}.url": evil,
        f"remote.{fork}.pushurl": evil,
        "remote.pushDefault": "origin",
        "branch.perf/core.pushRemote": "origin",
        "push.default": "matching",
        "remote.origin.push": "+refs/heads/*:refs/heads/*",
        "remote.origin.mirror": "true",
    }


@pytest.mark.parametrize("where", ["submodule", "global", "home", "environment"])
def test_no_configuration_sends_a_push_elsewhere(
    contributor: Contributor, evil: Path, tmp_path: Path, where: str
) -> None:
    fork = contributor.github.fork_git
    settings = rewrites(fork.as_uri(), evil.as_uri()) | rewrites(str(fork), str(evil))
    env = {}
    if where == "submodule":
        for key, value in settings.items():
            contributor.sandbox.git("config", "--local", "--add", key, value)
    elif where == "environment":
        env = {f"GIT_CONFIG_KEY_{n}": key for n, key in enumerate(settings)}
        env |= {f"GIT_CONFIG_VALUE_{n}": value for n, value in enumerate(settings.values())}
        env |= {"GIT_CONFIG_COUNT": str(len(settings))}
    else:
        file = tmp_path / "home" / ".gitconfig"
        file.parent.mkdir()
        for key, value in settings.items():
            git(tmp_path, "config", "--file", str(file), "--add", key, value)
        env = {"GIT_CONFIG_GLOBAL": str(file)} if where == "global" else {"HOME": str(file.parent)}
    before = git(evil, "for-each-ref")
    contributor.opens("core", "--submit", **env)
    assert git(evil, "for-each-ref") == before
    assert contributor.github.head("perf/core") == contributor.tip


def test_renamed_remotes_mean_nothing(contributor: Contributor, evil: Path) -> None:
    contributor.sandbox.git("remote", "rename", "origin", "upstream")
    contributor.sandbox.git("remote", "add", "origin", str(evil))
    contributor.sandbox.git("remote", "add", "fork", str(evil))
    before = git(evil, "for-each-ref")
    contributor.opens("core", "--submit")
    assert git(evil, "for-each-ref") == before
    assert contributor.github.head("perf/core") == contributor.tip


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://github.com/Netflix/metaflow", "is upstream itself"),
        ("https://github.com/netflix/Metaflow.git", "is upstream itself"),
        ("https://github.com/Netflix/metaflow/", "is upstream itself"),
        ("https://zoe:secret@github.com/zoe/metaflow", "without a user name or a password"),
        ("git@github.com:zoe/metaflow", "no https://host/owner/name"),
        ("ext::sh -c evil github.com/zoe/metaflow", "no https://host/owner/name"),
        ("https://example.org/zoe/metaflow", "on example.org, upstream on github.com"),
        ("--receive-pack=evil", "no https://host/owner/name"),
    ],
)
def test_a_fork_that_is_none(contributor: Contributor, url: str, said: str) -> None:
    contributor.sandbox.edit_series((contributor.github.fork_git.as_uri(), url))
    line = contributor.refused("core", "--submit")
    assert said in line and "secret" not in line
    assert contributor.github.requests == []


def test_a_repository_that_is_no_fork_of_upstream(contributor: Contributor) -> None:
    contributor.github.parent = "somebody/metaflow"
    assert "a fork of somebody/metaflow, on GitHub" in contributor.refused("core", "--submit")
    assert contributor.github.head("perf/core") is None


def test_the_default_branch_is_never_pushed(contributor: Contributor) -> None:
    contributor.sandbox.edit_series(('branch = "perf/core"', 'branch = "master"'))
    before = forks_refs(contributor)
    assert "is the default branch of KRRT7" in contributor.refused("core", "--submit")
    git(contributor.github.fork_git, "symbolic-ref", "HEAD", "refs/heads/none")
    assert "does not say which branch" in contributor.refused("core", "--submit")
    assert forks_refs(contributor) == before


def test_a_branch_that_was_there_before_us_is_foreign(contributor: Contributor) -> None:
    git(contributor.github.fork_git, "branch", "perf/core", "master")
    assert "was not pushed from here" in contributor.run("core", "--submit").err
    assert contributor.github.head("perf/core") == contributor.github.head("master")


def test_the_lease_holds_to_the_last_moment(contributor: Contributor) -> None:
    _, fork = repositories(contributor.sandbox.series())
    repo, fork_git = Repo(contributor.sandbox.tree), contributor.github.fork_git
    assert remote_branch(repo, fork, "perf/core") is None
    stale = Push(fork, "perf/core", contributor.tip, None)
    git(fork_git, "branch", "perf/core", "master")
    with pytest.raises(PushError, match="moved in the meantime"):
        carry_out(repo, stale)
    # Even past our own look: git's lease says the same.
    done = repo.run(*stale.arguments)
    assert done.returncode and b"stale info" in done.stdout
    assert contributor.github.head("perf/core") == contributor.github.head("master")


def test_a_fork_that_refuses(contributor: Contributor) -> None:
    hook = contributor.github.fork_git / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'error: GH006: Protected branch' >&2; exit 1\n")
    hook.chmod(0o755)
    assert "git push with the fork failed" in contributor.refused("core", "--submit")
    assert contributor.github.pulls == []
    hook.unlink()
    contributor.opens("core", "--submit")


class Moved(http.server.BaseHTTPRequestHandler):
    """A host that says the repository lives elsewhere now."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(301)
        self.send_header("Location", self.path.replace("/KRRT7/", "/Netflix/"))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_redirect_is_not_followed(contributor: Contributor) -> None:
    Moved.seen = []
    with http.server.HTTPServer(("127.0.0.1", 0), Moved) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/{FORK}"
        with pytest.raises(PushError, match="ls-remote with the fork failed"):
            remote_branch(
                Repo(contributor.sandbox.tree), Repository(url, "h", "KRRT7", "metaflow"), "x"
            )
        server.shutdown()
        thread.join()
    assert Moved.seen and all("/Netflix/" not in path for path in Moved.seen)


def test_tracing_shows_no_token(contributor: Contributor) -> None:
    """`Contributor.run` looks through the output; here everything speaks, and files are read."""
    tracing = {"GH_DEBUG": "api", "DEBUG": "1", "GIT_TRACE": "1", "GIT_TRACE_CURL": "1"}
    contributor.opens("core", "--submit", **tracing)
    said = {"message": f"No {TOKEN} here, nor github_pat_11ABC_def"}
    contributor.github.faults.append(Fault("GET", f"/repos/{FORK}", 403, said))
    assert "No *** here, nor *** (status 403)" in contributor.refused("core", "--submit", **tracing)
    token = contributor.env["GH_TOKEN"].encode()
    for file in contributor.sandbox.root.rglob("*"):
        assert not file.is_file() or token not in file.read_bytes(), file


def test_the_account_is_ghs_and_nobody_elses(
    contributor: Contributor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in contributor.env.items():
        monkeypatch.setenv(name, value)
    repo = Repo(contributor.sandbox.tree)
    repo.git("config", "credential.helper", "!echo username=evil; echo password=evil; :")
    asked = b"protocol=https\nhost=github.com\n\n"
    said = repo.git(*OPTIONS, "credential", "fill", input=asked).decode()
    assert f"password={TOKEN}" in said and "evil" not in said


def test_a_token_of_any_form_is_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GH_ENTERPRISE_TOKEN", "of-an-enterprise")
    assert (
        redact("GitHub: of-an-enterprise is\nnot ghs_A1 nor github_pat_2")
        == "GitHub: *** is not *** nor ***"
    )


@pytest.mark.parametrize(
    "url",
    [
        *("https://github.com/a", "http://github.com/a/b", "a/b", ""),
        *("https://github.com/a/b.git.git", "https://github.com/a/b.", "https://github.com/a/b//"),
    ],
)
def test_what_names_no_repository(url: str) -> None:
    with pytest.raises(SeriesError, match="key: no https"):
        Repository.parse(url, "key")
