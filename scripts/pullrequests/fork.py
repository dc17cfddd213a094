"""The only way out: a push of one topic's branch to the fork named in series.toml.

Git runs in a scratch whose configuration is ours alone, so no remote, `insteadOf` or
`pushurl` of anybody can send it elsewhere; redirects of the server are not followed. A push
replaces exactly the commit that was recorded as the last one pushed, or creates the branch.
"""

import os
import re
from dataclasses import dataclass

from patchstack.git import Repo
from pullrequests.errors import ForeignCommitError, PushError
from pullrequests.github import redact
from pullrequests.repository import Repository

SETTINGS = (
    # A fork that was renamed or moved is another repository until series.toml says so.
    ("http.followRedirects", "false"),
    # The account is gh's. No other helper, and nobody is asked.
    ("credential.helper", ""),
    ("credential.helper", "!gh auth git-credential"),
    ("core.askPass", ""),
    ("core.hooksPath", os.devnull),
    ("push.followTags", "false"),
    ("push.recurseSubmodules", "no"),
)
OPTIONS = tuple(part for name, value in SETTINGS for part in ("-c", f"{name}={value}"))


@dataclass(frozen=True)
class Push:
    """A push as it is shown and as it is made."""

    fork: Repository
    branch: str
    new: str
    old: str | None

    @property
    def arguments(self) -> tuple[str, ...]:
        ref = f"refs/heads/{self.branch}"
        lease = f"--force-with-lease={ref}:{self.old or ''}"
        return ("push", "--porcelain", "--no-verify", lease, self.fork.url, f"{self.new}:{ref}")


def remote_branch(repo: Repo, fork: Repository, branch: str) -> str | None:
    """The commit of a branch on the fork; refuses the fork's default branch."""
    heads = _git(repo, "ls-remote", "--symref", fork.url, "HEAD", f"refs/heads/{branch}")
    default = re.search(r"^ref: refs/heads/(.+)\tHEAD$", heads, re.MULTILINE)
    if default is None:
        raise PushError(f"{fork.url} does not say which branch is its default one: check the URL")
    if default[1] == branch:
        raise PushError(
            f"'{branch}' is the default branch of {fork.slug}, which is never pushed: give the "
            "topic another branch in patches/series.toml"
        )
    found = re.search(rf"^([0-9a-f]{{40}})\trefs/heads/{re.escape(branch)}$", heads, re.MULTILINE)
    return found[1] if found else None


def refuse_foreign(repo: Repo, push: Push, base: str, ours: list[str]) -> None:
    """Stop where the branch on the fork is at a commit that was not pushed from here."""
    if push.old is None or push.old == push.new or push.old in ours:
        return
    # What is there can be compared only once it is here.
    repo.git("update-ref", "refs/heads/base", base)
    _git(repo, "fetch", "--quiet", "--no-tags", push.fork.url, f"+{push.old}:refs/foreign")
    last = next((sha for sha in reversed(ours) if repo.commit(sha)), push.new)
    shown = repo.run("range-diff", "--no-color", f"{base}..{last}", f"{base}..{push.old}")
    author = repo.text("log", "-1", "--format=%an: %s", push.old)
    raise ForeignCommitError(
        f"{push.branch} on {push.fork.slug} is at {push.old[:12]} ({author}), which was not pushed "
        f"from here: take the commits over into the topic and export it, then run with "
        f"--replace {push.old}",
        shown.stdout.decode(errors="replace"),
    )


def carry_out(repo: Repo, push: Push) -> bool:
    """Push, if there is anything to; `push.old` is what the fork's branch must still be at."""
    if remote_branch(repo, push.fork, push.branch) != push.old:
        raise PushError(f"{push.branch} on {push.fork.slug} moved in the meantime: run again")
    if push.new == push.old:
        return False
    # Whatever might rewrite a URL, this is what git would talk to.
    resolved = _git(repo, "ls-remote", "--get-url", push.fork.url).strip()
    if resolved != push.fork.url:
        raise PushError(f"git would push to {redact(resolved)} instead of the fork: nothing pushed")
    _git(repo, *push.arguments)
    return True


def _git(repo: Repo, *args: str) -> str:
    done = repo.run(*OPTIONS, *args)
    if done.returncode == 0:
        return done.stdout.decode(errors="surrogateescape")
    said = (done.stderr + done.stdout).decode(errors="replace")
    if "[rejected]" in said:
        raise PushError("the branch on the fork moved during the push: run again")
    lines = said.strip().splitlines() or ["no output"]
    telling = [line for line in lines if re.match(r"fatal|error|!|remote: .*error", line)]
    raise PushError(
        f"git {args[0]} with the fork failed: {redact((telling or lines)[0])}: check the network, "
        "the URL of the fork, and `gh auth status`"
    )
