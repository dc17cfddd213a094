"""The patched distribution, built from the real series and installed with pip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import ROOT, run_door

from patchstack.project import Project
from patchstack.series import load_series


def build(project: Project, umask: int) -> Path:
    return project.root / run_door(project.root, "build_wheel", umask).strip().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(release: Project) -> Path:
    return build(release, 0o022)


def test_the_name_says_release_and_build(wheel) -> None:
    series = load_series(Project(ROOT))
    version = f"{series.pin.release}+perf.{series.integration.wheel}"
    assert wheel.name == f"metaflow-{version}-py3-none-any.whl"


def test_pip_and_metaflow_tell_it_apart_from_stock(wheel, tmp_path) -> None:
    series = load_series(Project(ROOT))
    version = f"{series.pin.release}+perf.{series.integration.wheel}"
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    # Metaflow's own requirements come from the user's index, which other tests close.
    online = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    install = [*pip, "install", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run(install, env=online, check=True)
    run = {
        "cwd": tmp_path,
        "env": {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        "capture_output": True,
        "text": True,
    }
    shown = subprocess.run([*pip, "show", "metaflow"], **run, check=True).stdout
    assert f"Version: {version}\n" in shown
    # The command line names its version when it is called without a command.
    said = subprocess.run([sys.executable, "-m", "metaflow.cmd.main_cli"], **run, check=False)
    assert f"Metaflow ({version})" in said.stdout + said.stderr
    requirements = (site / f"metaflow-{version}.dist-info" / "METADATA").read_text()
    # There are no stubs of a local version.
    assert f"metaflow-stubs=={series.pin.release}; extra" in requirements.replace(" ;", ";")


def test_the_same_series_gives_the_same_bytes(wheel, release) -> None:
    first = wheel.read_bytes()
    shutil.rmtree(release.build / "trees")
    assert build(release, 0o077).read_bytes() == first
