"""Installations of Metaflow, made once and kept under build/; and places to run flows in."""

from pathlib import Path

import pytest
from installed import Metaflow, Place, install
from sandbox import ROOT

from patchstack.project import Project


@pytest.fixture(scope="session")
def stock() -> Metaflow:
    return install(Project(ROOT), patched=False)


@pytest.fixture(scope="session")
def patched() -> Metaflow:
    """Patched, without the library."""
    return install(Project(ROOT), patched=True)


@pytest.fixture(scope="session")
def patched_lz4() -> Metaflow:
    return install(Project(ROOT), patched=True, extras=("lz4",))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
