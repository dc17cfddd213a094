"""The fault suites: each runs in the environment of an arm, on stores of that arm's Metaflow."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uv

from bench.arms import SERIES, UPSTREAM
from bench.environments import Environment, Environments, Packages, Tree, clean_environment
from bench.environments import last_line as last
from bench.errors import BenchError
from bench.results import NONE, STOCK
from compatibility.versions import ARMS as PATCHED
from resilience.results import SKIPPED, Fault

WORKERS = Path(__file__).with_name("workers")
TMPFS = Path("/dev/shm")
# Who writes the samples of a format.
WRITERS = {
    "gzip": STOCK,
    "raw": STOCK,
    "gzip, stored": "patched",
    "gzip, isal": "patched+isal",
    "LZ4": "patched+lz4",
}
LZ4 = "patched+lz4"
SUITES = ("corruption", "processes", "hostile", "decoder")
# The suites of our own tooling, by what they break.
TOOLING = {
    "kills, a full disk, no network during apply and export": "tests/test_faults.py",
    "hostile git configuration": "tests/test_hostile_git.py",
    "kills and lost answers while a pull request is opened": "tests/pull_requests/test_open_pr.py",
    "hostile settings and races during a push": "tests/pull_requests/test_fork.py",
}
WORK = "no work is lost, and nothing partial stays"
# Savers that are killed, and disks, make a processor wait.
PARALLEL = 2 * (os.cpu_count() or 1)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is tried."""

    corruptions: int  # of each format, at least
    step: int  # of what is certain to be tried, every n-th of them
    saves: int  # that are killed, for each way of storing
    examples: int  # of hypothesis, for a property
    seconds: int  # of fuzzing, for a format
    # Also what takes long and is the same each time: fuzzing, and a container.
    thorough: bool


FULL = Effort(20_000, step=1, saves=50, examples=1000, seconds=10, thorough=True)
QUICK = Effort(200, step=40, saves=5, examples=40, seconds=1, thorough=False)


@dataclass(frozen=True)
class Arm:
    """Stock or one of ours, installed together with what the suites need."""

    name: str
    environment: Environment
    settings: Mapping[str, str]
    tree: Tree

    def run(
        self,
        worker: str,
        *arguments: str | Path,
        python: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a worker under this arm. Raises BenchError with its last words if it fails."""
        done = subprocess.run(
            [python or self.environment.python, WORKERS / f"{worker}.py", *map(str, arguments)],
            cwd=self.environment.path,
            env=clean_environment(METAFLOW_HOME="/nonexistent", **self.settings, **(env or {})),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BenchError(f"{worker} under {self.name} failed: {last(done.stderr)}")
        return done.stdout

    def faults(self, said: str) -> list[Fault]:
        """What a worker printed, as rows of this arm."""
        provenance: dict[str, Any] = {
            "arm": self.name,
            "series": self.tree.series,
            "python": platform.python_version(),
        }
        return [
            Fault(**one | provenance | {"example": " ".join(one["example"].split())})
            for one in json.loads(said)
        ]


def install_arms(environments: Environments, trees: Mapping[str, Tree]) -> list[Arm]:
    """Stock, and our arms."""
    suite = Packages(("hypothesis",))
    stock = environments.provide(trees[UPSTREAM], suite)
    arms = [Arm(STOCK, stock, {}, trees[UPSTREAM])]
    for one in PATCHED:
        installed = environments.provide(trees[SERIES], one.packages + suite)
        arms.append(Arm(one.name, installed, one.settings, trees[SERIES]))
    return arms


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder that other users can enter, in memory where there is such a thing."""
    parent = TMPFS if TMPFS.is_dir() else folder
    parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="faults-", dir=parent))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def run_faults(
    root: Path, environments: Environments, trees: Mapping[str, Tree], effort: Effort, say: Say
) -> list[Fault]:
    """All rows. Raises BenchError if an environment cannot be made or a suite does not run."""
    say("environments")
    arms = install_arms(environments, trees)
    with scratch(root / "build") as folder, ThreadPoolExecutor(PARALLEL) as pool:
        corpus = write_corpus({arm.name: arm for arm in arms}, folder / "corpus")
        bombs = folder / "bombs"
        bombs.mkdir()
        next(arm for arm in arms if arm.name == LZ4).run("hostile", "make", bombs)

        def suite(arm: Arm, worker: str) -> list[Fault]:
            say(f"{worker} under {arm.name}")
            place = folder / f"{worker}-{arm.name}"
            place.mkdir()
            arguments = {
                "corruption": (corpus, place, f"{effort.corruptions}", f"{effort.step}"),
                "processes": (place, f"{effort.saves}"),
                "hostile": ("try", bombs, place),
                "decoder": (corpus, place, f"{effort.examples}"),
            }
            return arm.faults(arm.run(worker, *arguments[worker]))

        work = [(arm, worker) for arm in arms for worker in SUITES]
        found = pool.map(lambda item: suite(*item), work)
        faults = [fault for members in found for fault in members]
        say("libraries")
        faults += library_faults(arms, environments, corpus, folder)
        if effort.thorough:
            say("bootstrap of a container")
            faults += container_faults(arms, corpus, folder)
            for arm in arms:
                say(f"fuzzing under {arm.name}")
                faults += fuzz(arm, environments, corpus, folder / f"fuzz-{arm.name}", effort)
    return faults


def write_corpus(arms: Mapping[str, Arm], corpus: Path) -> Path:
    corpus.mkdir()
    for format, writer in WRITERS.items():
        arms[writer].run("corpus", corpus, format)
    return corpus


def fuzz(
    arm: Arm, environments: Environments, corpus: Path, place: Path, effort: Effort
) -> list[Fault]:
    packages = Packages(("atheris", *(name for name in ("isal", "lz4") if name in arm.name)))
    try:
        fuzzing = environments.provide(arm.tree, packages)
    except BenchError:
        return [_skipped(arm, "fuzzed", "there is no atheris for this Python and system")]
    place.mkdir()
    said = arm.run("fuzz", corpus, place, str(effort.seconds), python=fuzzing.python)
    return arm.faults(said)


def _skipped(arm: Arm, fault: str, reason: str) -> Fault:
    python = platform.python_version()
    return Fault("-", fault, arm.name, "-", 0, 0, 0, SKIPPED + reason, arm.tree.series, python)


def library_faults(
    arms: Sequence[Arm], environments: Environments, corpus: Path, folder: Path
) -> list[Fault]:
    """The library of LZ4 missing, or of another version."""
    ours, bare = (next(arm for arm in arms if arm.name == name) for name in (LZ4, "patched"))
    faults = _read(bare, "without the library", corpus, folder, has=False, env=ours.settings)
    oldest = oldest_wheel("lz4>=3.1.0")
    other = environments.provide(ours.tree, Packages(bare=(oldest,)))
    old = Arm(LZ4, other, ours.settings, ours.tree)
    faults += _read(old, f"with {oldest}", corpus, folder)
    by_old = folder / "corpus-by-old"
    shutil.copytree(corpus, by_old)
    shutil.rmtree(by_old / "LZ4")
    old.run("corpus", by_old, "LZ4")
    return faults + _read(ours, f"written with {oldest}", by_old, folder)


def container_faults(arms: Sequence[Arm], corpus: Path, folder: Path) -> list[Fault]:
    """The library only where Metaflow's bootstrap installs it."""
    fault = "in a container after the bootstrap"
    ours = next(arm for arm in arms if arm.name == LZ4)
    try:
        python = bootstrap(ours, folder / "container")
    except BenchError as error:
        return [_skipped(ours, fault, str(error))]
    env = {"PYTHONPATH": str(ours.tree.source)}
    return _read(ours, fault, corpus, folder, python=python, env=env)


def _read(
    arm: Arm, fault: str, corpus: Path, folder: Path, has: bool = True, **how: Any
) -> list[Fault]:
    place = tempfile.mkdtemp(dir=folder)
    said = arm.run("libraries", corpus, place, fault, "yes" if has else "no", **how)
    return arm.faults(said)


def oldest_wheel(requirement: str) -> str:
    """The oldest version that this Python has a wheel of: lz4==4.1.0."""
    options = ("--resolution=lowest", "--only-binary=:all:", "--no-deps", "--no-header")
    command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--no-annotate", *options, "-"]
    done = subprocess.run(command, input=requirement, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the package index has no wheel of {requirement}: {last(done.stderr)}")
    return done.stdout.strip()


def bootstrap(arm: Arm, container: Path) -> Path:
    """A fresh environment in which Metaflow's own bootstrap command was executed; its Python."""
    ask = (
        "from metaflow.metaflow_environment import MetaflowEnvironment as E; "
        "print(E(None)._get_install_dependencies_cmd('s3'))"
    )
    environment = clean_environment(**arm.settings)
    python = [str(arm.environment.python), "-c", ask]
    asked = subprocess.run(
        python, cwd=arm.environment.path, env=environment, capture_output=True, text=True
    )
    venv.create(container, with_pip=True)
    path = f"{container / 'bin'}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", asked.stdout],
        cwd=container,
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
    )
    if asked.returncode or done.returncode:
        raise BenchError(f"the bootstrap cannot run here: {last(asked.stderr + done.stderr)}")
    return container / "bin" / "python"


def tooling_faults(root: Path, say: Say) -> list[Fault]:
    """Rows of our own tooling: the tests of its suites are the cases."""
    say("our own tooling")
    return [_test_tooling(root, *item) for item in TOOLING.items()]


def _test_tooling(root: Path, fault: str, suite: str) -> Fault:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", suite]
        subprocess.run(command, cwd=root, capture_output=True)
        if not report.exists():
            raise BenchError(f"{suite} does not run: try make test ARGS={suite}")
        tests = ElementTree.parse(report).getroot().findall(".//testcase")
    bad = [t for t in tests if t.find("failure") is not None or t.find("error") is not None]
    ran = [t for t in tests if t.find("skipped") is None]
    example = str(bad[0].get("name")) if bad else ""
    python = platform.python_version()
    return Fault(WORK, fault, "our tooling", "-", len(ran), len(bad), 0, example, NONE, python)
