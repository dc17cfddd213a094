"""Who writes and who reads: releases of Metaflow, and our arms."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import uv

from bench.environments import Environment, Environments, Packages, Tree
from bench.errors import BenchError

# One for each way of storing and reading artifacts, and what was widely installed.
RELEASES = (
    *("2.2.13", "2.3.6", "2.4.9", "2.7.23", "2.9.15", "2.10.11"),
    *("2.11.16", "2.12.39", "2.15.21", "2.18.13", "2.19.38"),
)
# Until 2.9.15 Metaflow imports pkg_resources, which the next setuptools does not have.
SETUPTOOLS = "setuptools==80.9.0"
# Until 2.7.23 Metaflow imports imp, which Python 3.12 does not have.
NEEDS_IMP = RELEASES[:4]
WITH_IMP = ">=3.10,<3.12"


@dataclass(frozen=True)
class Version:
    """One Metaflow and its settings: a writer and a reader."""

    name: str
    packages: Packages = field(default_factory=Packages)
    # Upstream's release as it is published, if not the patched tree.
    patched: bool = False
    python: str = sys.executable
    settings: dict[str, str] = field(default_factory=dict)


def release(number: str) -> Version:
    old = number in NEEDS_IMP and sys.version_info >= (3, 12)
    packages = Packages((f"metaflow=={number}", SETUPTOOLS))
    return Version(number, packages, python=WITH_IMP if old else sys.executable)


ARMS = (
    Version("patched", patched=True),
    Version("patched+isal", Packages(("isal",)), patched=True),
    Version(
        "patched+lz4", Packages(("lz4",)), patched=True, settings={"METAFLOW_CAS_CODEC": "lz4"}
    ),
    Version(
        "patched+blake3",
        Packages(("blake3",)),
        patched=True,
        settings={"METAFLOW_CAS_HASH": "blake3"},
    ),
)


def newest_release() -> str:
    """The newest on the package index for this Python; BenchError if it cannot be asked."""
    command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--no-deps", "--no-header"]
    command += ["--no-annotate", "-"]
    done = subprocess.run(command, input="metaflow", capture_output=True, text=True)
    if done.returncode:
        raise BenchError("the package index does not say what the newest Metaflow is: is it there?")
    return done.stdout.strip().partition("==")[2]


def select_versions(releases: Sequence[str]) -> tuple[Version, ...]:
    """These releases, or all of `RELEASES` and the newest; then our arms."""
    names = dict.fromkeys(releases or (*RELEASES, newest_release()))
    return (*map(release, names), *ARMS)


def install(version: Version, environments: Environments, patched: Tree) -> Environment:
    """The environment of a version, made on first use. Raises BenchError if it cannot be made."""
    tree = patched if version.patched else None
    return environments.provide(tree, version.packages, python=version.python)
