"""Virtual environments of the arms under build/: made once, for each tree and its packages.

Metaflow is installed from the wheel of its tree, as a user installs it: not editable, and with
bytecode written on first import. What is beside it is pinned by uv.lock, through the
dependency group `arms`, so that two machines measure the same libraries.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import uv

from bench.errors import BenchError

WORKERS = Path(__file__).with_name("workers")
ROOT = Path(__file__).parents[1]
# The machine's own settings of these must not decide what is measured.
DROPPED = ("METAFLOW_", "PYTHON", "PYTEST_", "VIRTUAL_ENV", "AWS_", "AZURE_", "UV_PROJECT")


@dataclass(frozen=True)
class Tree:
    """A source tree of Metaflow, its wheel, and what patches it holds."""

    source: Path
    wheel: Path
    # Hash of the patch files, 12 hex digits; "-" for stock.
    series: str


@dataclass(frozen=True)
class Packages:
    """What is installed beside Metaflow. `bare` packages come without their dependencies."""

    names: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()

    def __add__(self, other: "Packages") -> "Packages":
        return Packages(
            tuple(sorted({*self.names, *other.names})), tuple(sorted({*self.bare, *other.bare}))
        )


@dataclass(frozen=True)
class Environment:
    """A virtual environment with one Metaflow in it."""

    path: Path
    # Versions of all that is beside Metaflow: "boto3=1.40.1 botocore=1.40.1 ...".
    libraries: str

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment a process of an arm starts from: the machine's, without settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(DROPPED)}
    return kept | {"METAFLOW_USER": "bench", "USERNAME": "bench"} | extra


def digest_package(package: Path) -> str:
    """What bench/workers/proof.py says of the Metaflow that it imports, for a folder of files."""
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(f"{file.relative_to(package)}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


@dataclass(frozen=True)
class Environments:
    """Makes environments under `folder`, or finds them there."""

    folder: Path

    @cached_property
    def _constraints(self) -> Path:
        """Exact versions of all that arms may install, from uv.lock."""
        export = ("export", "--frozen", "--quiet", "--only-group", "arms", "--no-hashes")
        pins = _uv(*export, "--no-annotate", "--no-header", cwd=ROOT)
        file = self.folder / "constraints.txt"
        file.write_text(pins)
        return file

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process makes environments at a time; others find them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def provide(
        self,
        tree: Tree | None,
        packages: Packages,
        bytecode: bool = True,
        python: str = sys.executable,
    ) -> Environment:
        """The environment with the Metaflow of `tree` (None: without) and `packages`.

        `python` is what uv is asked for. Without `bytecode`, nothing has written any into it.
        Raises BenchError if it cannot be made, or imports another Metaflow than that tree's.
        """
        with self._locked():
            parts = [platform.python_version(), python, self._constraints.read_text()]
            parts += ["-" if tree is None else tree.wheel.parent.name, repr(packages)]
            key = hashlib.sha256("\0".join([*parts, repr(bytecode)]).encode()).hexdigest()[:12]
            path = self.folder / key
            done = path / "libraries.json"
            if not done.is_file():
                self._make(path, tree, packages, python)
                # Last: a folder without it was interrupted, and is made anew.
                partial = done.with_suffix(".partial")
                partial.write_text(json.dumps(_libraries(path)))
                partial.replace(done)
        found = Environment(path, json.loads(done.read_text()))
        if tree is not None:
            prove(found, tree, bytecode)
        return found

    def _make(self, path: Path, tree: Tree | None, packages: Packages, python: str) -> None:
        shutil.rmtree(path, ignore_errors=True)
        _uv("venv", "--quiet", "--python", python, str(path), cwd=self.folder)
        install = ("pip", "install", "--quiet", "--python", str(path / "bin" / "python"))
        names = [*packages.names, *([] if tree is None else [str(tree.wheel)])]
        if names:
            _uv(*install, "--constraint", str(self._constraints), *names, cwd=self.folder)
        if packages.bare:
            _uv(*install, "--no-deps", *packages.bare, cwd=self.folder)


def prove(environment: Environment, tree: Tree, bytecode: bool = True) -> None:
    """Let the environment's Python say which Metaflow it imports; BenchError if not `tree`'s."""
    command = [str(environment.python), *([] if bytecode else ["-B"]), str(WORKERS / "proof.py")]
    cwd = environment.path
    done = subprocess.run(command, cwd=cwd, env=clean_environment(), capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"Metaflow of {tree.source} cannot be imported: {last_line(done.stderr)}")
    found = json.loads(done.stdout)
    here = Path(found["metaflow"]).is_relative_to(environment.path)
    if not here or found["digest"] != digest_package(tree.source / "metaflow"):
        raise BenchError(
            f"an arm imports {found['metaflow']}, which is not the Metaflow of {tree.source}: "
            f"delete {environment.path} and run again"
        )


def last_line(said: str) -> str:
    return (said.strip().splitlines() or ["no output"])[-1]


def _libraries(path: Path) -> str:
    """Versions of all installed packages but Metaflow, by name, sorted."""
    listed = _uv("pip", "list", "--quiet", "--format", "json", "--python", str(path), cwd=path)
    versions = {one["name"].lower(): one["version"] for one in json.loads(listed)}
    return " ".join(f"{name}={versions[name]}" for name in sorted(versions) if name != "metaflow")


def _uv(*args: str, cwd: Path) -> str:
    # Bytecode is written by the first import, or by none.
    dropped = ("VIRTUAL_ENV", "UV_COMPILE_BYTECODE")
    outside = {k: v for k, v in os.environ.items() if k not in dropped}
    command: Sequence[str] = [uv.find_uv_bin(), *args]
    done = subprocess.run(command, cwd=cwd, env=outside, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise BenchError(f"uv could not make an environment of an arm: {said[-300:]}")
    return done.stdout
