"""A topic, its fork as a bare repository, and a GitHub of one's own that the real gh talks to."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from description import load_description
from sandbox import (
    FOLDER,
    ROOT,
    Edit,
    Ended,
    Sandbox,
    clean_environment,
    git,
    make_project,
    make_upstream,
    require,
)
from stub import TOKEN, GitHub, Server

UPSTREAM = "Netflix/metaflow"
FORK = "KRRT7/metaflow"
# The headings are upstream's, the rest stands in for its text.
TEMPLATE = """\
## PR Type

<!-- Check one -->

- [ ] Bug fix
- [ ] New feature
- [ ] Core Runtime change (higher bar)
- [ ] Docs / tooling
- [ ] Refactoring

## Summary

<!-- What? -->

## Issue

Fixes #

## Reproduction

<!-- How? -->

## Root Cause

<!-- Why? -->

## Why This Fix Is Correct

## Failure Modes Considered

1.
2.

## Tests

- [ ] Unit tests added/updated

## Non-Goals

## AI Tool Usage

- [ ] No AI tools were used in this contribution
- [ ] AI tools were used (describe below)
"""
PR_MD = """\
## PR Type

Bug fix

## Summary

Step 2 is faster.

## Reproduction

```
## not a heading
python -c "import metaflow.store"
```

## Root Cause

It added in the wrong order.

## Why This Fix Is Correct

Addition commutes.

## Failure Modes Considered

1. Strings.
2. Lists.

## Tests

- [x] Unit tests added/updated

## Non-Goals

Subtraction.

## AI Tool Usage

- [x] No AI tools were used in this contribution
- [ ] AI tools were used (describe below)
"""
PLUGINS = "pytest\npytest-mock\npytest-timeout\n"
SETUP = (
    'from setuptools import setup\n\nsetup(name="metaflow", version="1.0", packages=["metaflow"])\n'
)
PASSES = "def test_passes():\n    assert True\n"


@pytest.fixture(scope="session")
def gh() -> Path:
    """The real gh: the machine's, or what .ci/gh unpacked under build/."""
    unpacked = ROOT / "build" / "gh" / "usr" / "bin" / "gh"
    found = shutil.which("gh") or (str(unpacked) if unpacked.is_file() else None)
    if found is None:
        require("gh is not installed: .ci/gh brings it")
    return Path(found)


@pytest.fixture(scope="session")
def description() -> dict[str, Any]:
    try:
        return load_description(ROOT / "build")
    except OSError as error:
        require(str(error))
        raise


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose series is applied, and the fork beside it."""
    folder = tmp_path_factory.mktemp("github")
    upstream = make_upstream(
        folder / "upstream",
        **{
            ".github/pull_request_template.md": TEMPLATE,
            "devtools/requirements-devstack.txt": PLUGINS,
            "setup.py": SETUP,
            "test/cmd/test_cmd.py": PASSES,
            "test/plugins/test_plugins.py": PASSES,
        },
    )
    fork = folder / FORK
    git(folder, "clone", "--quiet", "--bare", str(upstream), str(fork))
    sandbox = make_project(folder / FOLDER, upstream, "submodule")
    (sandbox.project.patches / "core" / "pr.md").write_text(PR_MD)
    url = f"https://github.com/{UPSTREAM}"
    sandbox.edit_series(("https://upstream.invalid/metaflow", url))
    git(sandbox.root, "config", "--file", ".gitmodules", "submodule.metaflow.url", url)
    git(sandbox.root, "add", "metaflow")  # at the pin, where it is checked out
    sandbox.apply()
    return folder


@dataclass(frozen=True)
class Contributor:
    """A checkout with a topic to submit, and all that it talks to."""

    sandbox: Sandbox
    github: GitHub
    env: dict[str, str]

    def run(self, *args: str, door: str = "open_pr", **env: str) -> Ended:
        ended = self.sandbox.door(door, *args, **{**self.env, **env})
        for text in (ended.out, ended.err):
            assert TOKEN not in text
        return ended

    def opens(self, *args: str, door: str = "open_pr", **env: str) -> str:
        ended = self.run(*args, door=door, **env)
        assert ended.code == 0, ended.err
        return ended.out

    def refused(self, *args: str, door: str = "open_pr", **env: str) -> str:
        ended = self.run(*args, door=door, **env)
        assert ended.code == 1, ended
        assert ended.err.count("\n") == 1 and ended.err.startswith(f"{door}: "), ended.err
        return ended.err

    def amend(self, **more: Edit) -> None:
        """Change the topic: export and apply, as a contributor does."""
        faster: dict[str, Edit] = {"metaflow/store.py": ("value + 10", "10 + value")}
        self.sandbox.switch("perf/core")
        self.sandbox.commit("Speed up step 10", faster | more)
        self.sandbox.opens("export_patches")
        self.sandbox.leave()
        # Apply would keep these commits; what is pushed is always made of the patches.
        self.sandbox.git("branch", "--quiet", "-D", "perf/core")
        self.sandbox.opens("apply_patches")

    @property
    def tip(self) -> str:
        return self.sandbox.git("rev-parse", "perf/core")

    @property
    def state(self) -> str:
        file = self.sandbox.root / "data" / "pull_requests.json"
        return file.read_text() if file.exists() else ""

    def pr_md(self, *change: str) -> None:
        file = self.sandbox.project.patches / "core" / "pr.md"
        text = file.read_text()
        assert text.count(change[0]) == 1
        file.write_text(text.replace(*change))


@pytest.fixture
def github(tmp_path: Path, template: Path, description: dict[str, Any]) -> Iterator[GitHub]:
    shutil.copytree(template / FORK, tmp_path / FORK)
    # A socket's path holds 108 bytes: pytest's folders are longer.
    with tempfile.TemporaryDirectory(prefix="gh") as name:
        github = GitHub(description, UPSTREAM, FORK, tmp_path / FORK, Path(name) / "socket")
        with Server(github) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield github
            server.shutdown()
            thread.join()
    assert github.violations == []


@pytest.fixture
def contributor(tmp_path: Path, template: Path, github: GitHub, gh: Path) -> Contributor:
    root = tmp_path / FOLDER
    shutil.copytree(template / FOLDER, root, symlinks=True)
    sandbox = Sandbox(root, "submodule")
    sandbox.edit_series(("https://fork.invalid/metaflow", github.fork_git.as_uri()))
    config = tmp_path / "gh"
    path = f"{gh.parent}{os.pathsep}{os.environ['PATH']}"
    env = {"GH_CONFIG_DIR": str(config), "GH_TOKEN": TOKEN, "PATH": path}
    subprocess.run(
        ["gh", "config", "set", "http_unix_socket", str(github.socket)],
        env=clean_environment(**env),
        check=True,
    )
    return Contributor(sandbox, github, env)
