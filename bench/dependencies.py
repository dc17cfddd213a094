"""data/dependencies.tsv: what each optional package costs whoever installs it.

One line for each package: the fields of `Dependency`, in order. The package index is read through
uv. Only wheels count, for a container that starts a task cannot be asked to compile. The import is
timed here, in fresh processes that have imported nothing else.
"""

import datetime
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
import uv
from packaging.tags import Tag, sys_tags
from packaging.utils import parse_wheel_filename

from bench.errors import BenchError
from bench.machine import this_machine
from bench.records import load_records, write_records
from bench.tables import Grid, quantity

# The optional packages of the arms, and what is imported of each.
PACKAGES = {"lz4": "lz4.frame", "isal": "isal.isal_zlib", "blake3": "blake3", "xxhash": "xxhash"}
# Upstream's classifiers begin with 3.6, and its CI ends with 3.14.
PYTHONS = tuple(f"3.{minor}" for minor in range(6, 15))
LINUX = "x86_64-manylinux2014"
SYSTEMS = {"manylinux": "Linux", "musllinux": "musl", "macosx": "macOS", "win": "Windows"}
PROCESSORS = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64", "arm64": "arm64"}
IMPORTS = 21
TIMED = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"
PROJECT = """\
[project]
name = "dependency"
version = "0"
requires-python = "=={python}.*"
dependencies = ["{package}"]
"""


@dataclass(frozen=True)
class Dependency:
    """The cost of one package."""

    package: str
    version: str  # the newest for `python`
    date: str  # of these facts
    processor: str  # of the import time
    python: str  # of the import time and the wheel
    import_seconds: float  # the least of `IMPORTS` processes: load only adds to it
    wheel_bytes: int  # for this machine
    platforms: str  # with a wheel of this version, 64 bits: "Linux x86-64, macOS arm64"
    floor: str  # the oldest Python with a wheel of this version
    oldest: str  # the oldest Python with a wheel of any version, and which: "3.6: 3.1.10"


REMEDY = 'make it with make report ARGS="--dependencies"'


def load_dependencies(path: Path) -> list[Dependency]:
    """Raises BenchError for a file that is missing or foreign."""
    return load_records(path, Dependency, REMEDY)


def write_dependencies(path: Path, dependencies: Sequence[Dependency]) -> None:
    write_records(path, Dependency, dependencies)


def dependency_grid(dependencies: Sequence[Dependency]) -> Grid:
    return Grid(
        (
            "package",
            "version",
            "wheels for",
            "from Python",
            "oldest Python: version",
            "wheel",
            "import",
        ),
        tuple(
            (
                *(one.package, one.version, one.platforms, one.floor, one.oldest),
                *(quantity(one.wheel_bytes, "B"), quantity(one.import_seconds, "s")),
            )
            for one in dependencies
        ),
        labels=5,
    )


def gather_dependency(package: str, module: str) -> Dependency:
    """Look up a package, and time the import of `module`.

    Needs the package index. Raises BenchError if uv cannot resolve or install the package.
    """
    with tempfile.TemporaryDirectory() as folder:
        version, wheels = _lock(package, Path(folder))
        import_seconds = _time_import(f"{package}=={version}", module, Path(folder))
    versions = _newest_versions(package)
    oldest, newest = next(iter(versions.items()))
    return Dependency(
        package=package,
        version=version,
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        processor=this_machine().processor,
        python=platform.python_version(),
        import_seconds=import_seconds,
        wheel_bytes=own_size(wheels),
        platforms=", ".join(dict.fromkeys(platforms(wheels))),
        floor=next(python for python, newest in versions.items() if newest == version),
        oldest=f"{oldest}: {newest}",
    )


Wheels = dict[str, int]  # bytes by file name


def _lock(package: str, folder: Path) -> tuple[str, Wheels]:
    """The newest version for this Python, and all its wheels."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "pyproject.toml").write_text(PROJECT.format(python=python, package=package))
    _uv("lock", "--quiet", "--project", str(folder))
    locked: dict[str, Any] = tomlkit.parse((folder / "uv.lock").read_text()).unwrap()
    (found,) = (one for one in locked["package"] if one["name"] == package)
    return found["version"], {one["url"].rpartition("/")[2]: one["size"] for one in found["wheels"]}


def _tags(wheel: str) -> frozenset[Tag]:
    return parse_wheel_filename(wheel)[3]


def own_size(wheels: Wheels) -> int:
    """Bytes of the wheel that this interpreter would install."""
    tags = ((tag, wheel) for tag in sys_tags() for wheel in wheels if tag in _tags(wheel))
    found = next(tags, None)
    if found is None:
        raise BenchError(f"none of {', '.join(wheels)} fits this machine: gather elsewhere")
    return wheels[found[1]]


def platforms(wheels: Wheels) -> Iterator[str]:
    """Common 64-bit platforms that have a wheel of CPython, in a fixed order."""
    found = {
        tag.platform for wheel in wheels for tag in _tags(wheel) if tag.interpreter[:2] != "pp"
    }
    for prefix, system in SYSTEMS.items():
        for suffix, processor in PROCESSORS.items():
            if any(one.startswith(prefix) and one.endswith(suffix) for one in found):
                yield f"{system} {processor}"


def _time_import(requirement: str, module: str, folder: Path) -> float:
    """Seconds of the import in a fresh process, with bytecode on disk but for the first."""
    environment = folder / "environment"
    _uv("venv", "--quiet", "--python", sys.executable, str(environment))
    python = str(environment / "bin" / "python")
    _uv("pip", "install", "--quiet", "--only-binary=:all:", "--python", python, requirement)
    command = [python, "-I", "-c", TIMED.format(module)]
    runs = (subprocess.run(command, capture_output=True, check=True) for _ in range(IMPORTS))
    return round(min(float(run.stdout) for run in runs), 6)


def _newest_versions(package: str) -> dict[str, str]:
    """The newest version with a wheel, for each Python that has one, on Linux."""
    found = {}
    for python in PYTHONS:
        options = ("--no-deps", "--no-header", "--no-annotate", "--only-binary=:all:")
        target = ("--python-version", python, "--python-platform", LINUX)
        try:
            line = _uv("pip", "compile", "--quiet", *options, *target, "-", stdin=package)
        except BenchError:
            continue  # no wheel for this one
        found[python] = line.strip().partition("==")[2]
    return found


def _uv(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [uv.find_uv_bin(), *arguments], input=stdin, capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BenchError(f"uv {arguments[0]} failed: {last.strip()}")
    return done.stdout
