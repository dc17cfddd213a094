"""The measuring: real processes, of small stand-ins for Metaflow that are quick to start.

A stand-in is a package named metaflow in a wheel of its own, and notes in a file who imported
it. One test at the end measures the pinned release itself.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox import ROOT

from bench.arms import ARMS, CONTROLS, SERIES, UPSTREAM, Arm, select_arms
from bench.environments import Environments, Packages, Tree, clean_environment, prove
from bench.errors import BenchError
from bench.hyperfine import find_hyperfine, time_command
from bench.machine import complaints, this_machine
from bench.metadata import serve_metadata
from bench.results import load_rows
from bench.runner import Bench, run_benchmark
from bench.schedule import Schedule, Step, steps_of_round
from bench.servers import AZURITE, DELAY, Server, _answers, count_requests, find_azurite, serve
from bench.session import code_hash, one_benchmark
from bench.workers.payloads import PAYLOADS
from bench.workers.tasks import STEPS
from bench.workloads import (
    AZURE,
    CHECKOUT,
    DISTANT,
    FAR,
    FLOWS,
    HEARD,
    OWN_GIT,
    SILENT,
    SWIFT,
    TWELVE,
    WIDE,
    WIDTH,
    Place,
    all_cases,
    measure,
    provide_checkout,
    select_cases,
)
from patchstack.prefix import prefix
from patchstack.project import Project
from patchstack.series import load_series
from patchstack.source import pinned_source

FAMILIES = frozenset({"parallel_map", "hash", "pack", "import", "flow"})
PARALLEL_MAP = """
import os

MARKER = {marker!r}
with open(os.environ["NOTE"], "a") as note:
    note.write(MARKER + "\\n")


def parallel_map(function, iterable):
    {body}
    return [function(one) for one in iterable]
"""


def make_tree(folder: Path, marker: str, body: str = "pass") -> Tree:
    """A source tree with a package named metaflow, and its wheel."""
    package = folder / "source" / "metaflow"
    package.mkdir(parents=True)
    source = PARALLEL_MAP.format(marker=marker, body=body)
    (package / "__init__.py").write_text(source)
    wheel = folder / "metaflow-1.0-py3-none-any.whl"
    info = "metaflow-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("metaflow/__init__.py", source)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: metaflow\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return Tree(package.parent, wheel, marker)


def make_arms(notes: Path) -> tuple[Arm, ...]:
    """The controls and one more, each with a file for what it imports."""
    return tuple(
        Arm(name, tree, FAMILIES, settings={"NOTE": str(notes / name)})
        for name, tree in (*((one, UPSTREAM) for one in CONTROLS), ("patched", SERIES))
    )


class Silent:
    def __init__(self) -> None:
        self.said: list[str] = []

    def prepare(self, what: str) -> None:
        pass

    def step(self, step: Step, seconds_left: float) -> None:
        pass

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture(autouse=True)
def note(monkeypatch, tmp_path) -> None:
    """Where an import notes itself that is no arm's."""
    monkeypatch.setenv("NOTE", str(tmp_path / "note"))


@pytest.fixture
def bench(tmp_path) -> Bench:
    trees = {name: make_tree(tmp_path / name, f"from {name}") for name in (UPSTREAM, SERIES)}
    return Bench(tmp_path / "bench", tmp_path / "out.tsv", "1.0", trees, tmp_path, 600)


@pytest.fixture
def arms(tmp_path) -> tuple[Arm, ...]:
    (tmp_path / "notes").mkdir()
    return make_arms(tmp_path / "notes")


(ONE_TASK,) = select_cases(["parallel_map"], ["1 no-op"], [], quick=False)
CASES = (replace(ONE_TASK, rounds=2),)


def test_an_arm_sees_the_marker_of_its_own_tree_only(bench, arms, tmp_path) -> None:
    run_benchmark(bench, CASES, arms, Silent())
    seen = {arm.name: set((tmp_path / "notes" / arm.name).read_text().split("\n")) for arm in arms}
    assert seen == {
        "stock": {"from upstream", ""},
        "stock-again": {"from upstream", ""},
        "patched": {"from series", ""},
    }
    rows = load_rows(bench.results)
    assert {(row.arm, row.series) for row in rows} == {
        ("stock", "from upstream"),
        ("stock-again", "from upstream"),
        ("patched", "from series"),
    }
    assert {row.bench for row in rows} == {code_hash()}
    # Forth in one round and back in the next.
    order = ["stock", "stock-again", "patched"]
    by_round = [
        [row.arm for row in sorted(rows, key=lambda one: one.position) if row.round == number]
        for number in range(2)
    ]
    assert by_round == [order, order[::-1]]


def test_an_environment_is_described_in_full_and_holds_no_bytecode(bench, monkeypatch) -> None:
    monkeypatch.setenv("UV_COMPILE_BYTECODE", "1")
    environments = Environments(bench.folder)
    made = environments.provide(bench.trees[UPSTREAM], Packages(("requests",)), bytecode=False)
    names = [one.partition("=")[0] for one in made.libraries.split()]
    # What requests needs decides as much as requests how long an import takes.
    assert {"requests", "urllib3"} < set(names)
    assert "metaflow" not in names
    assert not list(made.path.rglob("site-packages/**/*.pyc"))


def test_the_hash_is_that_of_the_code_that_decides_figures(tmp_path, monkeypatch) -> None:
    copy = shutil.copytree(ROOT / "bench", tmp_path / "bench")
    monkeypatch.setattr("bench.session.BENCH", copy)
    before = code_hash()
    for name, decides in (("servers.py", True), ("workers/work.py", True), ("plots.py", False)):
        file = copy / name
        source = file.read_text()
        file.write_text(source + "# changed\n")
        assert (code_hash() != before) is decides, name
        file.write_text(source)


def test_an_environment_with_another_metaflow_is_refused(bench) -> None:
    tree = bench.trees[UPSTREAM]
    environment = Environments(bench.folder).provide(tree, Packages())
    installed = next(environment.path.rglob("site-packages/metaflow/__init__.py"))
    prove(environment, tree)
    installed.write_text(installed.read_text() + "# changed\n")
    with pytest.raises(BenchError, match="is not the Metaflow of"):
        prove(environment, tree)
    with pytest.raises(BenchError, match="is not the Metaflow of"):
        prove(environment, bench.trees[SERIES])


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_benchmark import *
root = Path(sys.argv[2])
trees = {name: Tree(root / name / "source", root / name / "metaflow-1.0-py3-none-any.whl", name)
         for name in (UPSTREAM, SERIES)}
bench = Bench(root / "bench", root / "out.tsv", "1.0", trees, root, 600)
run_benchmark(bench, CASES, make_arms(root / "notes"), Silent())
"""


@pytest.mark.usefixtures("arms")
def test_a_killed_session_goes_on_where_it_was(bench, tmp_path) -> None:
    command = [sys.executable, "-c", DRIVER, str(ROOT / "tests"), str(tmp_path)]
    killed = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    while not bench.results.exists() or len(bench.results.read_bytes().splitlines()) < 4:
        assert killed.poll() is None, "ended too early to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = bench.results.read_bytes()
    assert 4 <= len(before.splitlines()) < 7
    subprocess.run(command, check=True)
    after = bench.results.read_bytes()
    assert after.startswith(before)
    rows = load_rows(bench.results)
    assert len({row.session for row in rows}) == 1
    places = Counter((row.round, row.position) for row in rows)
    assert set(places) == {(number, position) for number in range(2) for position in range(3)}
    assert set(places.values()) == {1}
    # It is finished now: the next one is another.
    subprocess.run(command, check=True)
    assert len({row.session for row in load_rows(bench.results)}) == 2


def test_another_selection_is_another_session(bench, arms) -> None:
    failing = make_tree(bench.folder.parent / "failing", "failing", "raise ValueError('no')")
    broken = replace(bench, trees={**bench.trees, SERIES: failing})
    with pytest.raises(BenchError, match=r"arm patched failed at .* 1 no-op: ValueError: no"):
        run_benchmark(broken, CASES, arms, Silent())
    run_benchmark(bench, CASES, arms, Silent())
    assert len({row.session for row in load_rows(bench.results)}) == 2


def test_a_full_disk_is_said_in_one_line(bench, arms) -> None:
    body = "raise OSError(28, 'No space left on device')"
    full = make_tree(bench.folder.parent / "full", "full", body)
    with pytest.raises(BenchError, match=r"^no space left on .*: free some and run again$"):
        run_benchmark(
            replace(bench, trees={**bench.trees, UPSTREAM: full}),
            CASES,
            arms,
            Silent(),
        )
    assert not list((bench.folder / "scratch").glob("*"))


def test_too_little_space_is_said_before_anything_is_measured(bench, arms, monkeypatch) -> None:
    monkeypatch.setattr("bench.runner.LEAST_SPACE", 10**18)
    with pytest.raises(BenchError, match="GB are needed: free some, choose smaller payloads"):
        run_benchmark(bench, CASES, arms, Silent())
    assert not bench.results.exists()


def test_a_folder_that_is_no_tmpfs_is_refused(bench) -> None:
    disk = Path(ROOT, "build")  # a checkout may lie in memory, its proc does not
    for workload, payload in (("save", "small dict"), ("flow", "hello")):
        cases = select_cases([workload], [payload], ["tmpfs"], quick=False)
        for tmpfs in (Path("/proc"), disk / "missing"):
            elsewhere = replace(bench, tmpfs=tmpfs)
            with pytest.raises(BenchError, match="is no tmpfs: name the folder of one with"):
                run_benchmark(elsewhere, cases, ARMS[:4], Silent())


def test_a_foreign_result_file_is_refused_and_kept(bench, arms) -> None:
    bench.results.write_text("a\tb\n1\t2\n")
    with pytest.raises(BenchError, match="is no result file"):
        run_benchmark(bench, CASES, arms, Silent())
    assert bench.results.read_text() == "a\tb\n1\t2\n"


def test_two_benchmarks_do_not_run_at_once(bench, arms) -> None:
    with (
        one_benchmark(bench.folder),
        pytest.raises(BenchError, match="another benchmark runs in this checkout"),
    ):
        run_benchmark(bench, CASES, arms, Silent())


def test_missing_tools_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BenchError, match="hyperfine is missing: run `uv sync`"):
        find_hyperfine()
    monkeypatch.setenv("PATH", str(tmp_path))
    # An installation that was killed has its commands, and no record of what is complete.
    binary = tmp_path / AZURITE / "node_modules" / ".bin" / "azurite-blob"
    binary.parent.mkdir(parents=True)
    binary.touch()
    with pytest.raises(BenchError, match="Azurite needs npm: install Node"):
        find_azurite(tmp_path)


def test_a_store_without_its_server_is_left_out(bench, arms, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    served = replace(ONE_TASK, store=AZURE, rounds=1)
    observer = Silent()
    run_benchmark(bench, [served, *CASES], arms, observer)
    assert observer.said[0] == "store azure is left out: Azurite needs npm: install Node.js"
    assert {row.store for row in load_rows(bench.results)} == {"-"}
    with pytest.raises(BenchError, match="Azurite needs npm"):
        run_benchmark(bench, [served], arms, Silent())


def test_a_command_that_fails_is_quoted(tmp_path) -> None:
    def seconds(code: str) -> float:
        command = [sys.executable, "-c", code]
        env = dict(os.environ)
        return time_command(command, warm_up=0, runs=2, cwd=tmp_path, env=env)

    assert seconds("pass") > 0
    with pytest.raises(BenchError, match=r"-c .*: the reason$"):
        seconds("print('fine'); raise SystemExit('the reason')")


def test_selection_by_workload_payload_and_store() -> None:
    def kinds(workloads=(), payloads=(), stores=(), quick=False):
        return {
            (workload, payload, case.store)
            for case in select_cases(workloads, payloads, stores, quick=quick)
            for workload in case.workloads
            for payload in case.payloads
        }

    everything = kinds()
    assert ("save", "model weights", "tmpfs") in everything
    assert ("load", "model weights", "azure") in everything
    optional = {"transformer", "float64 400 MB"}
    assert not any(store == "disk" or payload in optional for _, payload, store in everything)
    assert {workload for workload, _, _ in everything} == {
        *("pack", "save", "load", "import", "flow", "parallel_map", "hash")
    }
    assert kinds(quick=True) < everything
    assert kinds(["save"], ["text"], ["tmpfs"]) == {("save", "text", "tmpfs")}
    assert kinds(["store"], (), ["s3"]) == {
        (workload, "model weights", "s3") for workload in ("save", "load")
    }
    assert kinds(["save"], ["text"], ["disk"]) == {("save", "text", "disk")}
    assert not any(payload == "transformer" for _, payload, _ in kinds((), (), ["tmpfs", "disk"]))
    assert {workload for workload, _, _ in kinds(["peers"])} == {"peers save", "peers load"}
    assert kinds(["peers load"]) < kinds(["peers"])
    assert kinds((), ["transformer"]) == {
        (workload, "transformer", "tmpfs") for workload in ("save", "load")
    }
    # What single topics are judged by, only by a name that nothing else has.
    far = {("flow", payload, DISTANT) for payload in (TWELVE, FAR)}
    assert kinds(["swift"]) == {("flow", payload, SWIFT) for payload in (TWELVE, FAR)}
    checkout = {("flow", CHECKOUT, "tmpfs")}
    assert kinds(["distant"]) == kinds((), (), [DISTANT]) == far
    assert kinds(["git", "distant"]) == checkout | far
    assert kinds(["flow"], [CHECKOUT]) == checkout
    assert kinds(["task"]) == {("task", "hello", "tmpfs")}
    assert {payload for _, payload, _ in kinds(["flow"])} == {"hello", "checkpoint", "foreach"}
    assert {payload for _, payload, _ in kinds(["join"])} == {
        *("100 splits", "1,000 splits", "4,000 splits", "10,000 splits")
    }


def test_a_long_case_is_left_to_the_arms_that_are_judged() -> None:
    near, far = select_cases(["distant"], [], [], quick=False)

    def arms(case):
        return [step.arm.name for step in steps_of_round(case, ARMS, 0)]

    assert arms(far) == ["stock", "stock-again", "patched"]
    assert arms(near) == [*arms(far), "s3-batching", "scheduler-cache"]


@pytest.mark.parametrize(
    "names, message",
    [
        ((["saves"], [], []), "there is no workload 'saves': choose from"),
        (([], ["tiny"], []), "there is no payload 'tiny': choose from"),
        (([], [], ["gs"]), "there is no store 'gs': choose from"),
        ((["import"], ["text"], []), "nothing is left to measure"),
    ],
)
def test_a_selection_that_means_nothing_is_refused(names, message) -> None:
    with pytest.raises(BenchError, match=message):
        select_cases(*names, quick=False)


def test_arms_are_selected_with_their_controls() -> None:
    assert {arm.name for arm in select_arms(["patched"], [])} == {*CONTROLS, "patched"}
    assert {arm.name for arm in select_arms([], [])} == {
        arm.name for arm in ARMS if arm.tree in (UPSTREAM, SERIES) and not arm.optional
    }
    topics = [topic.name for topic in load_series(Project(ROOT)).topics]
    default = {arm.name for arm in select_arms([], topics)}
    assert default == {arm.name for arm in ARMS if not arm.optional}
    asked = {arm.name for arm in select_arms([], topics, ["git", "distant"])}
    assert asked - default == {"git-info", "s3-batching", "scheduler-cache"}
    assert {arm.name for arm in select_arms(["git-info"], topics)} == {*CONTROLS, "git-info"}
    with pytest.raises(BenchError, match="there is no arm 'pached': choose from stock"):
        select_arms(["pached"], [])
    with pytest.raises(BenchError, match="needs topic cas-lz4"):
        select_arms(["cas-lz4"], ["another"])


def test_arms_that_change_nothing_asked_for_are_refused(bench) -> None:
    cases = select_cases(["hash"], [], [], quick=False)
    patched = select_arms(["patched"], [])
    with pytest.raises(BenchError, match="do not differ in these workloads"):
        run_benchmark(bench, cases, patched, Silent())


def test_a_single_topic_makes_the_default_no_longer() -> None:
    topics = [topic.name for topic in load_series(Project(ROOT)).topics]
    for case in select_cases([], [], [], quick=False):
        steps = steps_of_round(case, select_arms([], topics), 0)
        assert not case.optional and not any(step.arm.optional for step in steps), case


def test_every_topic_has_an_arm_of_its_own_that_is_measured() -> None:
    topics = [topic.name for topic in load_series(Project(ROOT)).topics]
    measured = {step.arm.tree for case in all_cases() for step in steps_of_round(case, ARMS, 0)}
    assert set(topics) <= measured


def test_every_arm_is_measured_somewhere_and_every_case_has_its_controls() -> None:
    cases = tuple(all_cases())
    families = {case.family for case in cases}
    assert all(arm.families <= families for arm in ARMS)
    for case in cases:
        names = [step.arm.name for step in steps_of_round(case, ARMS, 0)]
        # One round has no noise to be compared with
        assert (set(CONTROLS) if case.rounds > 1 else {CONTROLS[0]}) < set(names)
        assert names == [step.arm.name for step in steps_of_round(case, ARMS, 1)][::-1]
    assert len({arm.name for arm in ARMS}) == len(ARMS)


def test_what_does_not_fit_into_the_time_is_left_with_fewer_rounds() -> None:
    arms = select_arms(["patched"], [])
    cheap, dear = select_cases(["import"], [], [], quick=False)
    cheap = replace(cheap, extra=2)
    seconds, now, short = {cheap: 1.0, dear: 5.0}, [0.0], {}
    rounds: Counter = Counter()
    schedule = Schedule([dear, cheap], arms, frozenset(), 52, short.__setitem__, lambda: now[0])
    for step in schedule.steps():
        rounds[step.case] += step.position == 0
        now[0] += seconds[step.case]
    # Three processes a round: 15 s and 3 s for the first; 15 s finish the cheap case, and leave
    # time for one more round of the dear one, not for its five, and for one that is only of use.
    assert rounds == {cheap: 7, dear: 2}
    assert now == [51]
    assert short == {dear: 2}
    assert schedule.seconds_left() == 0


def test_a_case_without_any_time_is_said_to_have_no_round() -> None:
    cases = select_cases(["import"], [], [], quick=False)
    short: dict = {}
    arms = select_arms(["patched"], [])
    schedule = Schedule(cases, arms, frozenset(), 0, short.__setitem__, lambda: 1)
    assert list(schedule.steps()) == []
    assert short == dict.fromkeys(cases, 0)


def test_payloads_are_deterministic_and_within_their_size() -> None:
    import pickle

    for name in ("small dict", "metrics dict", "embeddings", "JSON metrics", "text"):
        first, second = (pickle.dumps(PAYLOADS[name].make(), 4) for _ in range(2))
        assert first == second
        assert len(first) <= PAYLOADS[name].size


def test_what_warms_a_process_up_reaches_every_codec() -> None:
    code = "import artifacts; print(artifacts.pickled_size(artifacts.WARM_UP))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "bench" / "workers",
        capture_output=True,
        text=True,
        check=True,
    )
    # Topic cas-isal has the highest threshold for a library; mallopt(3), M_MMAP_THRESHOLD.
    assert 16 * 1024 < int(done.stdout) < 128 * 1024


def test_a_server_does_not_outlive_a_killed_benchmark(tmp_path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("this system has no setpriv")
    code = """
import os, signal, sys
from pathlib import Path
from bench.servers import _free_port, _running
port = str(_free_port())
serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port]
with _running(serve, f"http://127.0.0.1:{port}", dict(os.environ), Path(sys.argv[1])):
    print(port, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    url = f"http://127.0.0.1:{int(done.stdout)}"
    deadline = time.monotonic() + 20
    while _answers(url):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_peak_memory_is_that_of_the_stretch() -> None:
    code = """
import memory
held = bytearray(60_000_000)
del held
memory.settle()
memory.reset_peak()
before = memory.resident()
held = bytearray(20_000_000)
print(memory.peak() - before)
"""
    workers = ROOT / "bench" / "workers"
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system cannot reset the peak of a process")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workers, capture_output=True, text=True, check=True
    )
    assert 19_000_000 < int(done.stdout) < 25_000_000


def test_the_machine_is_known_and_watched() -> None:
    machine = this_machine()
    assert len(machine.fingerprint) == 12
    assert machine == this_machine()
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        said = list(complaints(0.5))
    finally:
        busy.kill()
        busy.wait()
    assert any("busy with something else: stop it" in line for line in said)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n",
            "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n",
        ),
        (
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n",
        ),
    ],
    ids=["x86", "ARM"],
)
def test_processors_of_one_name_are_told_apart(tmp_path, monkeypatch, one, other) -> None:
    monkeypatch.setattr("bench.machine.CPUINFO", tmp_path / "cpuinfo")
    machines = []
    for content in (one, other):
        (tmp_path / "cpuinfo").write_text(content)
        machines.append(this_machine())
    assert len({machine.fingerprint for machine in machines}) == 2
    assert len({machine.processor for machine in machines}) == 2


def test_the_door_says_what_is_wrong_in_one_line() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--arm", "pached"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("benchmark: there is no arm 'pached': choose from stock, ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def run(stock_tree, tmp_path):
    """Run one process of an arm on the pinned release; findings by workload, payload, metric."""
    environments = Environments(Project(ROOT).build / "bench" / "environments")

    def _run(case, arm, server=None, writer=None, tree=stock_tree):
        environment = environments.provide(tree, case.packages + Packages(arm.installed))
        folder = tmp_path / f"{case.family}-{case.store}-{arm.name}"
        (folder / "stores").mkdir(parents=True)
        server = server or Server(str(folder / "stores"))
        place = Place(environment, folder, server.root, server.settings, writer)
        found = measure(case, arm, place)
        assert not list((folder / "stores").iterdir())  # each store goes when it is measured
        return {(one.workload, one.payload, one.metric): one for one in found}

    return _run


def test_the_release_saves_loads_and_packs(run) -> None:
    stock, _, floor = ARMS[:3]
    names = ["small dict", "metrics dict"]
    (saves,) = select_cases(["artifacts"], names, ["tmpfs"], quick=False)
    found, least = run(saves, stock), run(saves, floor)
    for name in names:
        for workload in ("save", "load"):
            slow, fast = (one[workload, name, "time"] for one in (found, least))
            assert slow.value > fast.value > 0
            assert slow.bytes == fast.bytes
    # gzip made it smaller; the floor stores the pickle.
    stored = found["save", "metrics dict", "stored"]
    assert stored.value < stored.bytes == least["save", "metrics dict", "stored"].value
    (packs,) = select_cases(["pack"], names, [], quick=False)
    assert run(packs, stock)["pack", "metrics dict", "stored"] == replace(stored, workload="pack")
    least = run(packs, floor)["pack", "metrics dict", "stored"]
    assert (least.value, least.bytes) == (stored.bytes, stored.bytes)


def test_an_arm_loads_what_another_tree_saved(run, stock_tree, tmp_path) -> None:
    reads = next(arm for arm in ARMS if arm.writer)
    (case,) = select_cases(["artifacts"], ["small dict", "metrics dict"], ["tmpfs"], quick=False)
    # A tree of the same files, but that it says so when it is imported.
    note = tmp_path / "note"
    writer = tmp_path / "writer"
    shutil.copytree(stock_tree.source / "metaflow", writer / "source" / "metaflow")
    start = writer / "source" / "metaflow" / "__init__.py"
    start.write_text(start.read_text() + f"\nopen({str(note)!r}, 'a').write('imported ')\n")
    with zipfile.ZipFile(stock_tree.wheel) as packed:
        wheel = writer / stock_tree.wheel.name
        with zipfile.ZipFile(wheel, "w") as changed:
            for name in packed.namelist():
                own = name == "metaflow/__init__.py"
                changed.writestr(name, start.read_text() if own else packed.read(name))
    tree = replace(stock_tree, source=writer / "source", wheel=wheel)
    environment = Environments(tmp_path / "environments").provide(tree, case.packages)
    note.unlink()
    found = run(case, reads, writer=environment)
    assert {key[:2] for key in found} == {("load", name) for name in case.payloads}
    # One process for each payload.
    assert note.read_text().split() == ["imported"] * len(case.payloads)


def test_protocol_5_is_what_its_trial_measures(run) -> None:
    project = Project(ROOT)
    series = load_series(project)
    made = prefix(project, series, pinned_source(project, series.pin), series.topics)
    tree = Tree(made.tree, made.wheel, made.digest)
    (case,) = select_cases(["artifacts"], ["embeddings"], ["tmpfs"], quick=False)
    arms = {arm.name: arm for arm in ARMS}
    four, five = (run(case, arms[name], tree=tree) for name in ("patched", "patched+protocol5"))
    assert five.keys() == four.keys()
    # An array is described in other words, and stored as it is.
    stored = "save", "embeddings", "stored"
    assert five[stored].value != four[stored].value


def test_peers_keep_objects_and_tell_what_that_buys(run) -> None:
    (case,) = select_cases(["peers"], ["model weights"], [], quick=False)
    arms = {arm.name: arm for arm in ARMS if "peers" in arm.families}
    assert {"stock", "patched", "pickle", "Dagster"} < set(arms)
    for name, saved, noticed in (("stock", 1, 1), ("pickle", 0, 0), ("joblib", 0, 0)):
        found = run(case, arms[name])
        assert found["peers save", "model weights", "time"].value > 0
        assert found["peers load", "model weights", "time"].value > 0
        assert found["peers save", "model weights", "deduplicated"].value == saved
        assert found["peers load", "model weights", "noticed"].value == noticed


def test_whole_commands_have_a_floor(run) -> None:
    for family, payload in (("import", "with bytecode"), ("flow", "hello"), ("task", "hello")):
        (case,) = select_cases([family], [payload], [], quick=False)
        assert run(case, ARMS[2])[family, payload, "time"].value > 0
    (case,) = select_cases(["parallel_map"], [], [], quick=False)
    assert {payload for _, payload, _ in run(case, ARMS[2])} == set(case.payloads)


def test_a_task_is_run_as_its_flow_runs_it(run, tmp_path) -> None:
    (case,) = select_cases(["task"], [], [], quick=False)
    (found,) = run(case, ARMS[0]).values()
    assert (found.workload, found.payload) == ("task", "hello")
    assert found.value > 0
    folder = tmp_path / f"task-tmpfs-{ARMS[0].name}"
    for store, ended in (("left", False), ("store", True)):
        (first,) = (folder / store).glob(".metaflow/HelloFlow/*/start/1")
        assert (first / "0.DONE.lock").exists() == ended, store
        assert not list((folder / store).glob(".metaflow/HelloFlow/*/end")), store


def test_the_floor_of_a_flow_has_its_tasks() -> None:
    flows = {name for case in all_cases() if case.family == "flow" for name in case.payloads}
    assert flows == set(STEPS)
    script = (ROOT / "bench" / "flows" / "foreach.py").read_text()
    assert f'"WIDTH", "{max(STEPS["foreach"])}"' in script
    assert str(max(STEPS[WIDE])) == WIDTH


def test_the_floor_of_parallel_map_loses_nothing() -> None:
    code = """
import os, parallel
print(parallel.map_by_hand(lambda number: number * number, range(20)))
try:
    os.wait()
except ChildProcessError:
    print("no child left")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "bench" / "workers",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{[number**2 for number in range(20)]}\nno child left\n"


@pytest.mark.parametrize("store", ["s3", "azure"])
def test_servers_hold_what_a_folder_holds(run, tmp_path, store) -> None:
    environments = Environments(Project(ROOT).build / "bench" / "environments")
    try:
        find_azurite(environments.folder)
    except BenchError as error:
        if store == "azure":
            pytest.skip(str(error))
    (here,) = select_cases(["artifacts"], ["model weights"], ["tmpfs"], quick=False)
    (there,) = select_cases(["store"], ["model weights"], [store], quick=False)
    with serve(store, environments, tmp_path / "server") as server:
        remote = run(there, ARMS[0], server)
    stored = ("save", "model weights", "stored")
    assert remote[stored] == run(here, ARMS[0])[stored]
    assert remote["load", "model weights", "time"].value > 0


@pytest.mark.parametrize("workload", ["join", "filecache"])
def test_the_release_does_what_single_topics_are_judged_by(run, workload) -> None:
    case = select_cases([workload], [], [], quick=False)[0]
    first = case.payloads[:2] if workload == "filecache" else case.payloads[:1]
    found = run(replace(case, payloads=first), ARMS[0])
    assert {payload for _, payload, _ in found} == set(first)
    assert all(one.value > 0 for one in found.values())
    if workload == "filecache":  # the defect: nothing is ever evicted
        assert found["filecache", "8 processes", "stored"].value == 8 * 1024**2


@pytest.mark.parametrize("store", [DISTANT, SWIFT])
def test_a_distant_server_counts_and_delays(run, tmp_path, store) -> None:
    environments = Environments(Project(ROOT).build / "bench" / "environments")
    (case,) = select_cases([], [TWELVE], [store], quick=False)
    with serve(store, environments, tmp_path / "server") as server:
        begin = time.monotonic()
        for _ in range(5):
            _answers(server.settings["METAFLOW_S3_ENDPOINT_URL"])
        assert time.monotonic() - begin >= 5 * DELAY
        assert count_requests(server.settings) >= 5
        assert count_requests(server.settings) == 0
        found = run(case, ARMS[0], server)
    asked, seconds = (found["flow", TWELVE, metric].value for metric in ("requests", "time"))
    # Twelve artifacts are looked for and written one by one.
    assert asked > 24
    assert seconds > 24 * DELAY


def test_a_checkout_is_made_once_and_is_clean(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("bench.workloads.CHECKOUT_FILES", 3)
    (tmp_path / "flow.py").write_text("flow\n")
    env = dict(os.environ) | OWN_GIT
    script = provide_checkout(tmp_path / "checkout", tmp_path / "flow.py", env)
    assert script.read_text() == "flow\n"

    def git(*command: str) -> str:
        done = subprocess.run(
            ["git", *command],
            cwd=script.parent,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert len(git("ls-files").split()) == 4
    assert git("status", "--porcelain") == ""
    commit = git("rev-parse", "HEAD")
    assert provide_checkout(tmp_path / "checkout", tmp_path / "flow.py", env) == script
    assert git("rev-parse", "HEAD") == commit


@pytest.mark.parametrize("family", ["pylint", "lines", "heartbeats"])
def test_a_run_with_a_cost_does_what_it_costs(run, family) -> None:
    (case,) = select_cases([family], [], [], quick=False)
    arm = next(arm for arm in ARMS if family in arm.families and arm.name not in CONTROLS)
    (found,) = run(case, arm).values()
    assert (found.workload, found.payload) == ("costs", case.payloads[0])
    assert found.value > 0


@pytest.mark.parametrize("version", [SILENT, HEARD])
def test_heartbeats_are_sent_to_a_service_that_hears_them(stock_tree, tmp_path, version) -> None:
    environments = Environments(Project(ROOT).build / "bench" / "environments")
    environment = environments.provide(stock_tree, Packages())
    asked: list[str] = []
    with serve_metadata(version, asked) as url:
        env = clean_environment(
            METAFLOW_HOME=str(tmp_path),
            METAFLOW_DATASTORE_SYSROOT_LOCAL=str(tmp_path),
            METAFLOW_DEFAULT_METADATA="service",
            METAFLOW_SERVICE_URL=url,
        )
        command = [str(environment.python), str(FLOWS / "hello.py"), "--no-pylint", "run"]
        subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
    assert any(path.endswith("/heartbeat") for path in asked) is (version == HEARD)
