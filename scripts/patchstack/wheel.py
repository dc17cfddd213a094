"""The patched distribution as a wheel, told apart from stock by its local version."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import uv

from patchstack.errors import CommandError, GateError
from patchstack.project import Project
from patchstack.source import Source, source_tree

# Zip files cannot hold dates before 1980; with a fixed one two builds have the same bytes.
SOURCE_DATE_EPOCH = "946684800"  # 2000-01-01


def run_uv(*args: str, cwd: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the uv of our own environment, outside that environment, whatever its exit code."""
    outside = {
        name: value
        for name, value in os.environ.items()
        # The user's settings of Metaflow must not decide what a test says.
        if name != "VIRTUAL_ENV" and not name.startswith("METAFLOW_")
    }
    command = [uv.find_uv_bin(), *args]
    # Wheels record the modes of files: the user's umask is not to decide them.
    return subprocess.run(
        command, cwd=cwd, env=outside | env, capture_output=True, text=True, umask=0o022
    )


def build_wheel(project: Project, source: Source, commit: str, local: str, out: Path) -> Path:
    """Build the wheel of a commit into `out`; with `local`, as version `<release>+<local>`."""
    tree = source_tree(project, source, commit)
    out.mkdir(parents=True, exist_ok=True)
    with project.exclusive(), project.temporary_folder() as folder:
        copy = folder / "metaflow"
        shutil.copytree(tree, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for path in copy.rglob("*"):  # whatever the umask was when the tree was made
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        if local:
            _set_version(copy, f"{source.release}+{local}")
        build = ("build", "--wheel", "--out-dir", str(folder / "dist"))
        done = run_uv(*build, cwd=copy, SOURCE_DATE_EPOCH=SOURCE_DATE_EPOCH)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise CommandError(f"uv could not build the wheel: {last}")
        wheel = next((folder / "dist").glob("*.whl"))
        # dist/ may lie on another file system than build/.
        unfinished = Path(shutil.copy(wheel, out / f"{wheel.name}.unfinished"))
        return unfinished.replace(out / wheel.name)


def tree_wheel(project: Project, source: Source, commit: str) -> Path:
    """The wheel of a commit as upstream would build it, made once under build/wheels/.

    Its folder has the id of the commit's tree for a name. Without a local version, which would
    be a difference to stock.
    """
    tree = source.repo.text("rev-parse", f"{commit}^{{tree}}")
    folder = project.build / "wheels" / tree
    made = list(folder.glob("*.whl"))
    return made[0] if made else build_wheel(project, source, commit, "", folder)


def _set_version(tree: Path, version: str) -> None:
    _replace_once(
        tree / "metaflow" / "version.py",
        r'metaflow_version = "[^"]+"',
        f'metaflow_version = "{version}"',
    )
    # There are no stubs of a local version: the extra keeps asking for the release's.
    _replace_once(
        tree / "setup.py",
        r'"metaflow-stubs==%s" % version\b',
        '"metaflow-stubs==%s" % version.split("+")[0]',
    )


def _replace_once(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text(encoding="utf-8"))
    if count != 1:
        raise GateError(
            f"{file.name} of this release has {count} places like {pattern}, one was expected: "
            "adapt scripts/patchstack/wheel.py"
        )
    file.write_text(text, encoding="utf-8")
