"""Where things are in a checkout of this repository, and who may change them now."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patchstack.errors import PatchStackError

_LOG = logging.getLogger(__name__)
# Roots of the projects that this process holds the lock of.
_HELD: set[Path] = set()


@dataclass(frozen=True)
class Project:
    """A checkout of this repository."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> "Project":
        """The project that `start` lies in, found the way git finds a repository."""
        for folder in (start.resolve(), *start.resolve().parents):
            if (folder / "patches" / "series.toml").is_file():
                return cls(folder)
        raise PatchStackError(
            f"no patches/series.toml in {start} or above: change to a checkout of metaflow-perf"
        )

    @property
    def patches(self) -> Path:
        return self.root / "patches"

    @property
    def series_file(self) -> Path:
        return self.patches / "series.toml"

    @property
    def staged(self) -> Path:
        """Where an export puts its new files before it swaps them in."""
        return self.patches / ".staged"

    @property
    def staged_plan(self) -> Path:
        """There once everything else under `staged` is: from then on the export happens."""
        return self.staged / "plan.json"

    @property
    def submodule(self) -> Path:
        return self.root / "metaflow"

    @property
    def build(self) -> Path:
        return self.root / "build"

    @property
    def dist(self) -> Path:
        return self.root / "dist"

    def show(self, path: Path) -> str:
        """`path` as the user would type it from the root."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One engine at a time: a second one waits for the first, and logs that it does.

        The lock is the kernel's, so a killed holder releases it; whatever the killed one
        left under build/tmp/ is nobody's then, and goes. Who holds it may take it again:
        what must not be torn apart is held by the outermost.
        """
        if self.root in _HELD:
            yield
            return
        self.build.mkdir(exist_ok=True)
        with (self.build / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _LOG.warning("waiting for another command that is at work on %s", self.root)
                fcntl.flock(lock, fcntl.LOCK_EX)
            # A child that outlives us (git.Repo.run, detached) holds the lock until it ends.
            os.set_inheritable(lock.fileno(), True)
            shutil.rmtree(self.build / "tmp", ignore_errors=True)
            _HELD.add(self.root)
            try:
                yield
            finally:
                _HELD.remove(self.root)
                # Still ours: a failure leaves nothing under build/ but the lock file.
                shutil.rmtree(self.build / "tmp", ignore_errors=True)

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A folder on the same file system as everything under build/."""
        parent = self.build / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            yield Path(folder)
