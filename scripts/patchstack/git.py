"""The one door to git, and a git directory that no configuration can reach.

Exported patches must be the same bytes whoever exports them. A user's configuration is
kept out by pointing git's global and system files at nothing, the environment's GIT_*
variables by dropping them. What is left is the repository's own `.git/config`,
`info/attributes`, hooks and replace refs; `scratch` avoids those by working in a new git
directory that only borrows the repository's objects.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from patchstack.errors import CommandError
from patchstack.project import Project

# The committer of applied patches. Fixed, like the committer date (which `git am` copies
# from the author's), so that the same series always gives the same commit ids.
COMMITTER = {
    "GIT_COMMITTER_NAME": "metaflow-perf",
    "GIT_COMMITTER_EMAIL": "metaflow-perf@localhost",
}


def environment() -> dict[str, str]:
    """The environment every git runs in: nothing of the user's git, messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        # The user's own attributes are read from a default place, without any configuration.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.attributesFile",
        "GIT_CONFIG_VALUE_0": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        # Asking for a status must not write the user's index, nor leave its lock if killed.
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }


@dataclass(frozen=True)
class Repo:
    """A git repository and the extra environment its commands run with."""

    path: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *args: str, input: bytes | None = None, detached: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run git here and return the finished process, whatever its exit code.

        `detached` runs it outside our process group, for the few milliseconds in which a
        kill of the group must not hit git between two of its own renames.
        """
        try:
            done = subprocess.run(
                ["git", *args],
                cwd=self.path,
                env=environment() | dict(self.env),
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                start_new_session=detached,
                # Should we be killed meanwhile, it keeps the engine's lock until it is done.
                close_fds=not detached,
            )
        except FileNotFoundError:
            if not self.path.is_dir():
                raise CommandError(f"{self.path} is gone: run apply_patches again") from None
            raise CommandError("git is not installed: install it and try again") from None
        if b"detected dubious ownership" in done.stderr:
            raise CommandError(
                f"{self.path} belongs to another user, whose configuration git would obey: run as "
                "that user, or work in a clone of your own"
            )
        return done

    def git(self, *args: str, input: bytes | None = None, detached: bool = False) -> bytes:
        """Run git here and return what it printed; `CommandError` if it failed."""
        done = self.run(*args, input=input, detached=detached)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
            said = (telling or lines or [f"exit code {done.returncode}"])[-1]
            command = next(arg for arg in args if not arg.startswith("-") and "=" not in arg)
            raise CommandError(f"git {command} in {self.path}: {said}")
        return done.stdout

    def text(self, *args: str) -> str:
        return self.git(*args).decode(errors="surrogateescape").strip()

    def lines(self, *args: str) -> list[str]:
        return [line for line in self.text(*args).split("\n") if line]

    def commit(self, revision: str) -> str | None:
        """The commit that a name stands for, or None where it stands for none."""
        done = self.run("rev-parse", "--verify", "--quiet", revision + "^{commit}")
        return done.stdout.decode().strip() or None

    def is_ancestor(self, older: str, newer: str) -> bool:
        return self.run("merge-base", "--is-ancestor", older, newer).returncode == 0

    def update_refs(self, updates: list[str]) -> None:
        """Carry out lines of `git update-ref --stdin`, all or none; nothing if there are none."""
        if updates:
            script = "\n".join(["start", *updates, "prepare", "commit", ""])
            hooks = ("-c", "core.hooksPath=/dev/null", "-c", "core.filesRefLockTimeout=5000")
            try:
                self.git(*hooks, "update-ref", "--stdin", input=script.encode(), detached=True)
            except CommandError as error:
                raise CommandError(
                    f"{error}: nothing moved; another git may be at work there, or a branch stand "
                    "below or above that name, which git cannot hold: rename one and run again"
                ) from None

    def commits(self, start: str, tip: str) -> list[str]:
        """Ids of the commits after `start` up to `tip`, oldest first."""
        return self.lines("rev-list", "--reverse", "--topo-order", f"{start}..{tip}")


@contextmanager
def scratch(project: Project, source: Repo, *, keep_objects: bool) -> Iterator[Repo]:
    """A throwaway work tree and git directory over the objects of `source`.

    Its configuration, attributes, hooks, index and refs are its own and empty. With
    `keep_objects`, new commits are written among those of `source`, where a ref may then
    be pointed at them; without, nothing in `source` changes, not even unreferenced objects.
    """
    objects = source.text("rev-parse", "--path-format=absolute", "--git-path", "objects")
    shallow = Path(source.text("rev-parse", "--path-format=absolute", "--git-path", "shallow"))
    with project.temporary_folder() as folder:
        # An empty template: the user's one may bring hooks and attributes.
        Repo(folder).git("init", "--quiet", "--template=", ".")
        if shallow.is_file():
            (folder / ".git" / "shallow").write_bytes(shallow.read_bytes())
        if keep_objects:
            repo = Repo(folder, COMMITTER | {"GIT_OBJECT_DIRECTORY": objects})
        else:
            # In a file, not in the environment: a scratch of this scratch borrows them too.
            info = folder / ".git" / "objects" / "info"
            (info / "alternates").write_text(objects + "\n", encoding="utf-8")
            repo = Repo(folder, COMMITTER)
        for key, value in SCRATCH_CONFIG.items():
            repo.git("config", key, value)
        yield repo


SCRATCH_CONFIG = {
    # File names as they are in patch files, not as octal escapes.
    "core.quotePath": "false",
    # Case and mode are what the tree says, not what the file system can hold.
    "core.fileMode": "true",
    # A scratch is thrown away: no housekeeping in the background.
    "gc.auto": "0",
    "maintenance.auto": "false",
}
