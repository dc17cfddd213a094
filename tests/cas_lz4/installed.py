"""Metaflow as users have it: installed from wheels, stock and patched, with and without lz4."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from patchstack.git import scratch
from patchstack.project import Project
from patchstack.series import load_series
from patchstack.source import pinned_source, source_tree
from patchstack.stack import Builder
from patchstack.wheel import build_wheel, run_uv

HERE = Path(__file__).parent
FLOW = HERE / "store_flow.py"
RUN_ID = ("--run-id-file", "run_id")
# What Metaflow asks for before it talks to Azure.
AZURE = ("azure-identity", "azure-storage-blob")

# What the metadata of a blob says, for each kind of blob.
RAW = {"cas_raw": True, "cas_version": 1}
GZIP = {"cas_raw": False, "cas_version": 1}
LZ4 = {"cas_raw": False, "cas_version": 2}
# What a reader says that knows no LZ4 blobs, or has no library for them.
STOCK_REFUSES = "Unknown encoding version 2 for "
WITHOUT_LIBRARY = 'pip install "metaflow[lz4]"'


@dataclass(frozen=True)
class Place:
    """A folder that runs start in, with their metadata, and the settings of its datastore."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "text.txt").write_text("what a file holds\n")

    @property
    def last_run(self) -> str:
        return "StoreFlow/" + (self.folder / "run_id").read_text()


@dataclass(frozen=True)
class Metaflow:
    """One installation; its commands run as a user would start them."""

    python: Path

    def flow(
        self, place: Place, *args: str, codec: str | None = None, fails: bool = False, **env: str
    ) -> str:
        """Run a command of the flow; returns everything it said."""
        done = self._run(place, [str(FLOW), "--no-pylint", *args], codec, env)
        said = done.stdout + done.stderr
        assert bool(done.returncode) == fails, said
        return said

    def run(
        self, place: Place, *args: str, codec: str | None = None, fails: bool = False, **env: str
    ) -> str:
        """Run the whole flow; returns its pathspec."""
        self.flow(place, "run", *RUN_ID, *args, codec=codec, fails=fails, **env)
        return place.last_run

    def read(self, place: Place, pathspec: str, codec: str | None = None) -> "Read":
        """Read all artifacts of a run, or a spun task, with a client whose cache is empty."""
        done = self._run(place, [str(HERE / "read_run.py"), pathspec], codec, {})
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        # The installed one, and not some folder that is called metaflow.
        assert Path(result["metaflow"]).is_relative_to(self.python.parent.parent), result
        return Read(result["steps"], result["successful"])

    def _run(
        self, place: Place, command: list[str], codec: str | None, extra: dict[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        kept = {
            name: value
            for name, value in os.environ.items()
            # Metaflow's settings are the test's; without bytecode every start takes a second.
            if not name.startswith(("METAFLOW_", "PYTHON", "AWS_", "AZURE_"))
        }
        if codec is not None:
            extra = extra | {"METAFLOW_CAS_CODEC": codec}
        with tempfile.TemporaryDirectory() as cache:
            settings = {
                "METAFLOW_USER": "tester",
                "METAFLOW_HOME": str(place.folder),
                "METAFLOW_CLIENT_CACHE_PATH": cache,
                "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(place.folder),
            }
            return subprocess.run(
                [self.python, *command],
                cwd=place.folder,
                env=kept | settings | place.settings | extra,
                capture_output=True,
                text=True,
                check=False,
            )


@dataclass(frozen=True)
class Read:
    """What a client got: by step and artifact, the key and the digest or error of each task."""

    steps: dict[str, dict[str, list[list[str]]]]
    successful: bool

    def values(self, *steps: str) -> dict[str, list[str]]:
        """Digests or errors by step and artifact, of all steps or of the named ones."""
        return {
            f"{step}/{name}": [value for _, value in tasks]
            for step in steps or self.steps
            for name, tasks in self.steps[step].items()
        }

    def stored_as_lz4(self, step: str) -> set[str]:
        """Names of the artifacts of a step that LZ4 blobs hold."""
        artifacts = self.steps[step].items()
        return {name for name, tasks in artifacts if any(is_lz4(key) for key, _ in tasks)}

    def by_key(self, *steps: str) -> dict[str, str]:
        """Digest or error by the key in the store."""
        return {
            key: value
            for step in steps or self.steps
            for tasks in self.steps[step].values()
            for key, value in tasks
        }


def is_lz4(key: str) -> bool:
    return key.endswith(".lz4")


def assert_refused(read: Read, truth: Read, reason: str) -> None:
    """Everything stored as LZ4 is refused with the reason, and everything else is read.

    Whether the run succeeded is in artifacts that are too small for LZ4.
    """
    assert read.successful == truth.successful
    values, true = read.by_key(), truth.by_key()
    assert values.keys() == true.keys()
    assert any(map(is_lz4, values))
    for key, value in values.items():
        if is_lz4(key):
            assert key in value and reason in value
        else:
            assert value == true[key]


def install(project: Project, *, patched: bool, extras: tuple[str, ...] = ()) -> Metaflow:
    """The installation of a wheel under build/environments/, made on first use."""
    series = load_series(project)
    source = pinned_source(project, series.pin)
    with project.exclusive():
        commit = source.base
        if patched:
            with scratch(project, source.repo, keep_objects=True) as repo:
                commit = Builder(repo, source, series).branch(series.topic("cas-lz4"))[1]
        tree = source_tree(project, source, commit).name
        name = hashlib.sha256("\0".join([sys.executable, tree, *extras, *AZURE]).encode())
        folder = project.build / "environments" / name.hexdigest()[:16]
        if not (folder / "bin" / "python").exists():
            shutil.rmtree(folder, ignore_errors=True)
            wheel = build_wheel(project, source, commit, "", project.build / "wheels" / tree)
            with project.temporary_folder() as temporary:
                new = temporary / "venv"
                _uv("venv", "--relocatable", "--python", sys.executable, str(new))
                what = f"{wheel}[{','.join(extras)}]"
                _uv("pip", "install", "--python", str(new / "bin" / "python"), what, *AZURE)
                folder.parent.mkdir(exist_ok=True)
                new.replace(folder)
    return Metaflow(folder / "bin" / "python")


def _uv(*args: str) -> None:
    done = run_uv(*args, cwd=HERE)
    assert done.returncode == 0, done.stderr
