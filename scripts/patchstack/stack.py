"""From patches to commits and back, in a scratch work tree.

`Builder` makes the commits of any set of topics on a base, `format_patches` writes
commits as canonical patch files. Both run where no configuration reaches (git.scratch).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patchstack.errors import ConflictError
from patchstack.git import Repo
from patchstack.held import HeldPatches, hold
from patchstack.patch import Patch
from patchstack.series import Series, Topic
from patchstack.source import Source

FORMAT_PATCH = (
    "format-patch",
    # The id of the commit changes with every apply, the patch must not.
    "--zero-commit",
    # The default signature is git's version.
    "--no-signature",
    # [PATCH 1/3] would change in every file when one is added.
    "--no-numbered",
    # A stat is derived, wraps at a width, and doubles the size of the diff of a diff.
    "--no-stat",
    # Abbreviated blob ids grow with the repository.
    "--full-index",
    # Pinned although it is the default: a scratch has no configuration, but defaults move.
    "--unified=3",
    "--find-renames=50%",
    "--diff-algorithm=myers",
    "--indent-heuristic",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--encoding=UTF-8",
    # Readable names of authors instead of =?UTF-8?q?...?=; `git am` takes both.
    "--no-encode-email-headers",
    # File names do not depend on git's default, which has moved before.
    "--filename-max-length=64",
    # Nothing of the user's machine, and nothing outside the diff.
    "--no-ext-diff",
    "--no-textconv",
    "--no-binary",
    "--no-color",
    "--no-notes",
    "--no-thread",
    "--no-attach",
    "--no-cover-letter",
    "--no-base",
    # A commit without a change is a file of its own, so that it can be refused by name.
    "--always",
    "--no-signoff",
)

AM = (
    "am",
    "--quiet",
    # The first file decides the format otherwise.
    "--patch-format=mbox",
    # Files with CRLF stay so.
    "--keep-cr",
    # Only [PATCH] is ours to strip from a subject: "[core] ..." stays.
    "--keep-non-patch",
    # Exact context or a conflict: a three-way merge would apply what was never reviewed.
    "--no-3way",
    "--no-scissors",
    "--no-message-id",
    "--no-gpg-sign",
    "--whitespace=nowarn",
    # Commit ids become a function of the series.
    "--committer-date-is-author-date",
)


@dataclass(frozen=True)
class Reject:
    """A place where a patch does not fit."""

    path: str
    hunk: str
    reason: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.path, self.hunk))) + f": {self.reason}"


@dataclass(frozen=True)
class Trial:
    """What happens when a patch meets a tree: it fits, maybe elsewhere, or is rejected."""

    rejects: tuple[Reject, ...]
    offset: bool


def format_patches(repo: Repo, start: str, tip: str) -> tuple[Patch, ...]:
    """The commits after `start` up to `tip` as patch files; `repo` is a scratch."""
    out = repo.path / ".git" / "formatted"
    repo.git(*FORMAT_PATCH, f"--output-directory={out}", f"{start}..{tip}")
    if not out.is_dir():
        return ()
    patches = tuple(Patch(file.name, file.read_bytes()) for file in sorted(out.iterdir()))
    for file in out.iterdir():
        file.unlink()
    return patches


def holds(repo: Repo, patch: Patch, written: Patch, commit: str) -> bool:
    """Whether `patch` is `commit`, of which git has written the patch `written`.

    The same lines in the same context can still be meant for two places of a file, so it has
    to make the same files on the commit's parent, too.
    """
    if patch.change != written.change:
        return False
    index = Repo(repo.path, {**repo.env, "GIT_INDEX_FILE": str(repo.path / ".git" / "holds")})
    index.git("read-tree", f"{commit}~1")
    done = index.run("apply", "--cached", "--whitespace=nowarn", input=patch.data)
    return not done.returncode and index.text("write-tree") == repo.text(
        "rev-parse", f"{commit}^{{tree}}"
    )


def try_patch(repo: Repo, patch: Patch, exclude: tuple[str, ...] = ()) -> Trial:
    """Whether `patch`, but for the paths in `exclude`, fits the files of `repo`.

    The files are as before afterwards.
    """
    file = str(write_patch(repo, patch))
    apply = ["apply", "--verbose", "--whitespace=nowarn"]
    apply += [f"--exclude={path}" for path in exclude]
    done = repo.run(*apply, "--check", file)
    if done.returncode == 0:
        return Trial((), b"(offset " in done.stderr)
    done = repo.run(*apply, "--reject", file)
    repo.git("reset", "--quiet", "--hard")
    repo.git("clean", "--quiet", "--force", "-d", "-x")
    return Trial(_rejects(patch, done.stderr.decode(errors="replace")), False)


def write_patch(repo: Repo, patch: Patch) -> Path:
    file = repo.path / ".git" / patch.name
    file.write_bytes(patch.data)
    return file


def _rejects(patch: Patch, said: str) -> tuple[Reject, ...]:
    """Read the rejected hunks from what `git apply --reject --verbose` says."""
    hunks = {file.path: list(file) for file in patch.diff}
    rejects: list[Reject] = []
    path = ""
    for line in said.splitlines():
        if found := re.match(r"Applying patch (.+) with \d+ rejects?\.\.\.", line):
            path = found[1].split(" => ")[-1]  # a rename names both
        elif found := re.match(r"Rejected hunk #(\d+)\.", line):
            hunk = hunks[path][int(found[1]) - 1]
            where = f"@@ -{hunk.source_start},{hunk.source_length} @@ {hunk.section_header}".strip()
            rejects.append(Reject(path, f"hunk {found[1]} ({where})", "does not fit"))
        elif found := re.match(
            r"error: (.+): (No such file or directory|already exists in working directory"
            r"|already exists in index|does not exist in index|does not match index)$",
            line,
        ):
            rejects.append(Reject(found[1], "", found[2].lower()))
    if not rejects:
        last = (said.strip().splitlines() or ["git apply failed"])[-1]
        rejects.append(Reject(patch.name, "", last.removeprefix("error: ")))
    return tuple(dict.fromkeys(rejects))


@dataclass
class Builder:
    """Builds the commits of topics on a base, each combination of topics once."""

    repo: Repo
    source: Source
    series: Series
    tips: dict[tuple[str, ...], str] = field(default_factory=dict)
    held: Mapping[str, HeldPatches] = field(init=False)

    def __post_init__(self) -> None:
        self.held = hold(self.series, self.source)

    def tip(self, topics: Sequence[Topic]) -> str:
        """The commit with the patches of `topics`, in this order, on the base."""
        key = tuple(topic.name for topic in topics)
        if not key:
            return self.source.base
        if key not in self.tips:
            self.tips[key] = self._apply(self.tip(topics[:-1]), topics[-1])
        return self.tips[key]

    def branch(self, topic: Topic) -> tuple[str, str]:
        """Start and tip of a topic alone: what it depends on, and that plus its own."""
        closure = self.series.closure(topic)
        return self.tip(closure[:-1]), self.tip(closure)

    def integration(self) -> str:
        return self.tip(self.series.topics)

    def canonical(self, topic: Topic, held: HeldPatches | None = None) -> tuple[Patch, ...]:
        """The topic's patches as they are written when exported from its own branch.

        `held` has the parts that no branch made here can hold, if not our own patches do.
        """
        held = held or self.held[topic.name]
        return held.restored(format_patches(self.repo, *self.branch(topic)))

    def _apply(self, start: str, topic: Topic) -> str:
        self.repo.git("checkout", "--quiet", "--detach", "--force", start)
        patches, excluded = self.held[topic.name].applied, self.held[topic.name].left_out
        am = (*AM, *(f"--exclude={path}" for path in excluded))
        files = [str(write_patch(self.repo, patch)) for patch in patches]
        if files and self.repo.run(*am, *files).returncode:
            self.repo.run("am", "--abort")
            self.repo.git("reset", "--quiet", "--hard", start)
            for patch in patches:
                done = self.repo.run(*am, str(write_patch(self.repo, patch)))
                if done.returncode:
                    self.repo.run("am", "--abort")
                    raise self._conflict(
                        topic, patch, excluded, done.stderr.decode("utf-8", "replace")
                    )
        return self.repo.text("rev-parse", "HEAD")

    def _conflict(
        self, topic: Topic, patch: Patch, excluded: tuple[str, ...], said: str
    ) -> ConflictError:
        """Why a patch does not apply to the files as they are now."""
        trial = try_patch(self.repo, patch, excluded)
        if not trial.rejects:  # the diff is fine, so the mail around it is not
            last = (said.strip().splitlines() or ["git am failed"])[-1]
            return ConflictError(
                f"patches/{topic.name}/{patch.name}: {last} Restore the file with git, or mend it"
            )
        places = "; ".join(
            f"{reject} (last touched upstream by {self.source.last_change(reject.path)})"
            for reject in trial.rejects
        )
        return ConflictError(
            f"patches/{topic.name}/{patch.name} does not apply to {self.source.release}: {places}. "
            "Nothing was changed; mend the patch, or its depends_on"
        )
