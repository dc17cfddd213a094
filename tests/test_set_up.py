"""From nothing to a running tool: uv is fetched as uv.lock names it, or not at all."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import ROOT


@pytest.fixture
def checkout(tmp_path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "fetch_uv.py", tmp_path / "scripts")
    shutil.copy(ROOT / "uv.lock", tmp_path)
    return tmp_path


def fetch(checkout: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(checkout / "scripts" / "fetch_uv.py")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_uv_arrives_and_runs(checkout) -> None:
    assert fetch(checkout).returncode == 0
    uv = checkout / "build" / "uv" / "uv"
    said = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("uv ")


def test_another_sha256_is_refused(checkout) -> None:
    lock = checkout / "uv.lock"
    lines = lock.read_text().splitlines(keepends=True)
    changed = [
        line.replace('hash = "sha256:', 'hash = "sha256:0') if "/uv-" in line else line
        for line in lines
    ]
    lock.write_text("".join(changed))
    done = fetch(checkout)
    assert done.returncode == 1
    assert "does not have the sha256 of uv.lock" in done.stderr
    assert not (checkout / "build").exists()


def test_a_system_without_a_wheel_is_told_what_to_do(checkout) -> None:
    lock = checkout / "uv.lock"
    lock.write_text(lock.read_text().replace("/uv-", "/other-"))
    done = fetch(checkout)
    assert done.returncode == 1
    assert done.stderr.startswith("fetch_uv: uv.lock has no uv for")


def test_the_menu_names_every_door() -> None:
    menu = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    doors = {file.stem.split("_")[0] for file in (ROOT / "scripts").glob("*_patches.py")}
    listed = {line.split()[1] for line in menu.stdout.splitlines()}
    assert doors | {"bench", "test", "wheel", "lint", "help"} <= listed


@pytest.mark.parametrize("machine", ["with uv", "without"])
def test_every_target_has_what_it_needs(checkout, machine) -> None:
    shutil.copy(ROOT / "Makefile", checkout)
    (checkout / "bin").mkdir()
    if machine == "with uv":
        (checkout / "bin" / "uv").touch(mode=0o755)
    found = re.findall("^([a-z]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    command = [shutil.which("make") or "make", "--dry-run"]
    env = {"PATH": str(checkout / "bin")}
    for target in found:
        command = [*command[:2], target]
        done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        fetched = "fetch_uv.py" in done.stdout
        assert fetched == (machine == "without" and target != "help"), target


@pytest.mark.parametrize(
    "door", ["apply_patches", "export_patches", "rebase_patches", "check_patches", "build_wheel"]
)
def test_every_door_explains_itself(door: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / f"{door}.py")]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) > 50
    wrong = subprocess.run([*command, "--nonsense"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
