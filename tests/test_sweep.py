"""The sweep: a real flow under the pinned Metaflow, over stand-ins that are quick to measure."""

import base64
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tomlkit
from hera.workflows.models import WorkflowTemplate
from sandbox import ROOT
from test_benchmark import make_tree

from bench.arms import SERIES, UPSTREAM
from bench.environments import Environments, Packages
from bench.errors import BenchError
from bench.machine import this_machine
from bench.results import load_rows
from bench.scale import Subject, measure_scale
from bench.servers import serve
from bench.session import one_benchmark
from bench.sweep import (
    PLAN,
    Cell,
    Machine,
    Sweep,
    collect,
    compile_argo,
    load_outcomes,
    load_plan,
    pack_archive,
    plan_cells,
    run_sweep,
)
from patchstack.project import Project
from patchstack.series import load_series

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
# What kills the task that measures 64 no-ops: its process is the ancestor that runs a step.
KILL = """
    if len(iterable) == 64:
        import signal
        pid = os.getpid()
        while b"sweep_flow.py\\0" not in open(f"/proc/{pid}/cmdline", "rb").read():
            pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
        os.kill(pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
"""
CELLS = [
    Cell("patched", "parallel_map", payload, "", python, "here", 0.2)
    for payload, python in (("1 no-op", "2.7"), ("1 no-op", HERE), ("64 no-ops", HERE))
]


@pytest.fixture
def make_sweep(stock_tree, tmp_path, monkeypatch):
    """A sweep of cells whose arms are stand-ins."""
    monkeypatch.setenv("NOTE", str(tmp_path / "note"))
    environments = Environments(Project(ROOT).build / "bench" / "environments")

    def make(cells, machine="here", settings=None) -> Sweep:
        settings = settings or Machine()
        trees = {name: make_tree(tmp_path / name, name, KILL) for name in (UPSTREAM, SERIES)}
        packages = Packages(("kubernetes",) if settings.backend == "kubernetes" else ())
        environment = environments.provide(stock_tree, packages)
        folder = tmp_path / "sweep"
        archive = pack_archive(folder, cells, trees, "1.0")
        assert archive == pack_archive(folder, cells, trees, "1.0")
        return Sweep(folder, environment, archive, machine, settings, len(cells), 0.2)

    return make


@pytest.fixture
def run_by_door(monkeypatch):
    """What `make sweep` does with a sweep."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("sweep")._run


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the task to kill in /proc")
def test_a_killed_sweep_goes_on_and_every_cell_has_an_outcome(
    make_sweep, run_by_door, tmp_path, capfd
) -> None:
    sweep = make_sweep(CELLS)
    log = tmp_path / "log"
    with log.open("wb") as output:
        killed = subprocess.Popen(
            sweep.run_command(1),
            cwd=sweep.folder,
            env=sweep.environ(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 240
    while "/measure/4 (pid" not in log.read_text():  # the third cell
        assert killed.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    first = sweep.run_file.read_text()

    with pytest.raises(BenchError, match="has no joined rows: let it finish"):
        collect(sweep, first, tmp_path / "results.tsv", tmp_path / "sweep.tsv")
    assert not (tmp_path / "results.tsv").exists()
    run_by_door(Project(tmp_path), sweep, None)
    said = log.read_text() + capfd.readouterr().err
    second = sweep.run_file.read_text()
    assert second != first
    assert f"going on with run {first} on here: cells that have ended" in said
    assert "cell 1 of 3: patched, parallel_map, 1 no-op, Python 2.7\n" in said
    assert "cell 1 of 3: failed: error: " in said
    assert "cell 2 of 3: measured\n" in said
    assert f"cell 3 of 3: patched, parallel_map, 64 no-ops, Python {HERE}\n" in said
    outcomes = collect(sweep, second, tmp_path / "results.tsv", tmp_path / "sweep.tsv")

    # A cell that fails is a line with its reason, and one that is lost costs nothing but itself.
    missing, measured, lost = outcomes
    assert [one.outcome for one in outcomes] == ["failed", "measured", "lost"]
    assert "2.7" in missing.reason
    assert "Task execution kept failing over 2 attempts" in lost.reason
    assert {(one.sweep, one.run) for one in outcomes} == {(sweep.archive.name, second)}
    assert load_outcomes(tmp_path / "sweep.tsv") == outcomes
    # What was measured before the kill was not measured again, and by the code of `make bench`.
    rows = load_rows(tmp_path / "results.tsv")
    assert len(rows) == measured.rows > 0
    assert len({row.session for row in rows}) == 1
    assert {row.arm for row in rows} == {"stock", "stock-again", "patched"}
    assert {row.machine for row in rows} == {this_machine().fingerprint} == {measured.fingerprint}
    assert set((tmp_path / "note").read_text().split()) == {UPSTREAM, SERIES}

    # Delivered again, nothing is added.
    files = [tmp_path / "results.tsv", tmp_path / "sweep.tsv"]
    before = [file.read_bytes() for file in files]
    assert collect(sweep, second, *files) == outcomes
    assert [file.read_bytes() for file in files] == before

    (card,) = (sweep.folder / ".metaflow" / "mf.cards").rglob("*.html")
    data = re.search(r'__MF_DATA__\["[\w-]+"\] = "([\w+/=]+)"', card.read_text())
    assert data
    shown = base64.b64decode(data[1]).decode()
    assert "1 of 3 cells measured" in shown
    drawn = re.search(r"data:image/svg\+xml;base64,([\w+/=]+)", shown)
    assert drawn
    assert b"</svg>" in base64.b64decode(drawn[1])


def test_nothing_is_announced_while_another_benchmark_runs(
    make_sweep, run_by_door, tmp_path, capfd
) -> None:
    project = Project(tmp_path)
    with (
        one_benchmark(project.build / "bench"),
        pytest.raises(BenchError, match="another benchmark runs in this checkout"),
    ):
        run_by_door(project, make_sweep(CELLS[:1]), None)
    assert capfd.readouterr().err == ""


def test_another_archive_than_the_one_sent_is_refused(make_sweep, capfd) -> None:
    sweep = make_sweep(CELLS[:1])
    other = replace(sweep, archive=replace(sweep.archive, sha256="0" * 64))
    with pytest.raises(BenchError, match="the flow stopped, see above"):
        run_sweep(other, 1)
    assert f"arrived with sha256 {sweep.archive.sha256} instead of 0000" in capfd.readouterr().err


# Besides what the plan of the project asks for.
SECRETS = """
[kubernetes]
image = "registry.example/python:3.12"
secrets = ["first", "second"]
[kubernetes.node_selector]
"kubernetes.io/arch" = "arm64"
[[kubernetes.tolerations]]
key = "arch"
operator = "Equal"
value = "arm64"
"""
MACHINES = load_plan(PLAN).machines | {
    "secrets": Machine.model_validate(tomlkit.parse(SECRETS).unwrap())
}
ON_KUBERNETES = [name for name, one in MACHINES.items() if one.backend == "kubernetes"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """Settings of a Metaflow with a datastore in a cloud."""
    folder = tmp_path_factory.mktemp("cloud")
    environments = Environments(Project(ROOT).build / "bench" / "environments")
    with serve("s3", environments, folder / "server") as server:
        yield {
            **server.settings,
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_DATASTORE_SYSROOT_S3": server.root,
            "METAFLOW_HOME": str(folder),
            "METAFLOW_USER": "bench",
        }


@pytest.mark.parametrize("name", ON_KUBERNETES)
def test_the_flow_compiles_for_argo_workflows(make_sweep, cloud, monkeypatch, name) -> None:
    sweep = make_sweep([replace(CELLS[0], machine=name)], name, MACHINES[name])
    for key, value in cloud.items():
        monkeypatch.setenv(key, value)
    manifest = without_null(json.loads(compile_argo(sweep, 7)))
    # Argo's models: what they do not know, they drop, and what is of another type, they refuse.
    template = WorkflowTemplate.model_validate(manifest)
    read = template.model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert without_null(read) == manifest

    assert manifest["spec"]["parallelism"] == 7
    assert sweep.archive.name in manifest["metadata"]["annotations"]["metaflow/tags"]
    tasks = {one["name"]: one for one in manifest["spec"]["templates"]}
    settings = MACHINES[name].kubernetes
    wanted = settings["node_selector"]
    if isinstance(wanted, str):
        wanted = dict([wanted.split("=")])
    for step in ("start", "measure", "join", "end"):
        task = tasks[step]
        assert task["nodeSelector"] == wanted
        assert task["container"]["image"] == settings["image"]
        resources = task["container"]["resources"]
        assert resources["requests"]["cpu"] == str(settings.get("cpu", 1))
        assert (resources["limits"] == resources["requests"]) == ("qos" in settings)
        secrets = [one["secretRef"]["name"] for one in task["container"]["envFrom"]]
        assert secrets == settings.get("secrets", [])
        assert task.get("tolerations") == settings.get("tolerations")
        if step != "end":
            assert task["retryStrategy"]["retryPolicy"] == "Always"
    given = {one["name"]: one["value"] for one in manifest["spec"]["arguments"]["parameters"]}
    assert json.loads(given["sha256"]) == sweep.archive.sha256
    assert json.loads(given["machine"]) == name
    included = json.loads(json.loads(given["archive"]))
    assert included["size"] == sweep.archive.path.stat().st_size


@pytest.mark.parametrize("name", sorted({*MACHINES} - {*ON_KUBERNETES}))
def test_what_is_not_kubernetes_does_not_compile_for_argo_workflows(make_sweep, name) -> None:
    sweep = make_sweep([replace(CELLS[0], machine=name)], name, MACHINES[name])
    with pytest.raises(BenchError, match=f"machine {name} is not one of Kubernetes"):
        compile_argo(sweep, 7)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Metaflow could not determine your user name"),
        ({"METAFLOW_USER": "bench"}, "requires --datastore=s3 or --datastore=azure or"),
        (
            {"METAFLOW_USER": "bench", "METAFLOW_DEFAULT_DATASTORE": "s3"},
            "METAFLOW_DATASTORE_SYSROOT_S3",
        ),
        (
            {
                "METAFLOW_USER": "bench",
                "METAFLOW_DEFAULT_DATASTORE": "s3",
                "METAFLOW_DATASTORE_SYSROOT_S3": "s3://none/metaflow",
                "METAFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9",
                "METAFLOW_S3_CLIENT_RETRY_CONFIG": '{"max_attempts": 1}',
                "AWS_ACCESS_KEY_ID": "none",
                "AWS_SECRET_ACCESS_KEY": "none",
            },
            'Could not connect to the endpoint URL: "http://127.0.0.1:9/none/metaflow/SweepFlow',
        ),
    ],
)
def test_a_cluster_that_metaflow_is_not_configured_for(
    make_sweep, tmp_path, monkeypatch, capfd, settings, said
) -> None:
    for key in [key for key in os.environ if key.startswith("METAFLOW_")]:
        monkeypatch.delenv(key)
    for key in ("SUDO_USER", "USERNAME", "USER"):
        monkeypatch.delenv(key, raising=False)
    for key, value in {"METAFLOW_HOME": str(tmp_path), **settings}.items():
        monkeypatch.setenv(key, value)
    name = "azure-d2s-v5"
    sweep = make_sweep([replace(CELLS[0], machine=name)], name, MACHINES[name])
    remedy = r"see above: configure Metaflow for the cluster: METAFLOW_USER \(or USERNAME\), "

    def give_up(*_: object) -> None:
        raise TimeoutError("Metaflow goes on asking a server that does not answer")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    try:
        with pytest.raises(BenchError, match="cannot compile the flow, " + remedy):
            compile_argo(sweep, 7)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert said in capfd.readouterr().err
    if "METAFLOW_DATASTORE_SYSROOT_S3" not in settings:
        with pytest.raises(BenchError, match="the flow did not start, " + remedy):
            run_sweep(sweep, 1)
        with pytest.raises(BenchError, match="Metaflow cannot read run argo-1, see above"):
            collect(sweep, "argo-1", tmp_path / "results.tsv", tmp_path / "sweep.tsv")
        assert capfd.readouterr().err.count(said) == 2


def without_null(value):
    """Kubernetes reads null as absent."""
    if isinstance(value, dict):
        return {k: without_null(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_null(one) for one in value]
    return value


def test_scheduling_is_timed_with_real_tasks_and_simulated_ones(
    stock_tree, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("bench.scale.REAL_WIDTHS", (2, 3))
    environments = Environments(Project(ROOT).build / "bench" / "environments")
    environment = environments.provide(stock_tree, Packages())
    subject = Subject("stock", stock_tree, environment, "1.0")
    few, real, *simulated = measure_scale([subject], (4, 8), tmp_path)
    assert [one.tasks for one in (few, real, *simulated)] == ["real"] * 2 + ["simulated"] * 2
    # A cell's files are there once for each cell, and a simulated one has fewer.
    assert real.files - few.files > (simulated[1].files - simulated[0].files) / 4 > 3
    assert min(one.scheduler_seconds for one in (few, real, *simulated)) > 0
    assert min(one.join_seconds for one in (few, real, *simulated)) > 0


def test_the_plan_of_the_project_means_something() -> None:
    plan = load_plan(PLAN)
    series = load_series(Project(ROOT))
    cells = plan_cells(plan, [topic.name for topic in series.topics])
    assert len(set(cells)) == len(cells) > 0
    assert {cell.machine for cell in cells} == set(plan.machines)
    assert plan.machines["here"].decorator is None
    assert plan.machines["aws-m7i-large"].decorator.startswith("batch:cpu=2,memory=6144,image=")
    assert json.dumps([asdict(cell) for cell in cells])


GOOD = """
minutes = 1.0
[machines.here]
[[cells]]
arms = ["patched"]
measure = { import = ["with bytecode"] }
pythons = ["3.11"]
machines = ["here"]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('machines = ["here"]', 'machines = ["there"]', "no machine 'there': add"),
        ('["patched"]', '["pached"]', "there is no arm 'pached': choose from stock"),
        ("import =", "imports =", "there is no workload 'imports': choose from"),
        ("with bytecode", "text", "cell import, text: nothing is left to measure"),
        # What every task would find out.
        (
            'import = ["with bytecode"]',
            'hash = ["float64 1 MB"]',
            "patched does not differ from stock in",
        ),
        ('["patched"]', '["stock"]', "arm stock does not differ from stock in workload import: "),
        ('["patched"]', '["patched", "BLAKE3"]', "BLAKE3 does not differ from stock in workload"),
        ('["patched"]', "[]", "cells.0.arms: Tuple should have at least 1 item"),
        ("minutes = 1.0", "minutes = 0", "minutes: Input should be greater than 0"),
        ("[machines.here]", "[machines.here]\nbatch = {}\nkubernetes = {}", "not of both"),
        ("minutes = 1.0", "", "minutes: Field required"),
        ("minutes = 1.0", "minutes = 1.0\nhours = 1", "hours: Extra inputs are not permitted"),
        ("minutes = 1.0", "minutes =", "is not TOML"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(tmp_path: Path, old, new, message) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(GOOD)
    assert len(plan_cells(load_plan(file), [])) == 1
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(BenchError, match=message):
        plan_cells(load_plan(file), [])


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("there", "there is no machine 'there': choose from here, idle"),
        ("idle", "no cell is for machine idle: add it to the machines of a block"),
    ],
)
def test_the_door_says_what_is_wrong_in_one_line(tmp_path, machine, said) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(GOOD + "[machines.idle]\n")
    door = [sys.executable, str(ROOT / "scripts" / "sweep.py"), "--plan", str(plan)]
    done = subprocess.run(
        [*door, "--machine", machine], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"sweep: {said}\n")


def test_a_large_answer_of_a_task_arrives(make_sweep) -> None:
    """Its rows and picture are more than a pipe holds while nobody reads it."""
    call = """[sys.executable, "-c", "print('x' * 1_000_000)"]"""
    assert call_in_task(make_sweep, call) == "1000001\n"


def test_a_reason_says_what_failed_and_why(make_sweep, monkeypatch) -> None:
    """What uv says is long, and its last cause is the first: here, that nothing listens."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    mirror = f"http://127.0.0.1:9/{'x' * 600}"
    call = f"""[os.environ["SWEEP_UV"], "python", "install", "3.14", "--reinstall",
        "--install-dir", "pythons", "--no-bin", "--mirror", "{mirror}"]"""
    why = call_in_task(make_sweep, call)
    assert why.startswith("error: ")
    assert " ... " in why
    assert "Connection refused" in why
    assert len(why) < 1010


def call_in_task(make_sweep, call: str) -> str:
    """How long the answer of a command is that a task calls, or the reason that it fails for."""
    sweep = make_sweep([])
    code = f"""
import os, sys, sweep_flow
from pathlib import Path
home = object.__new__(sweep_flow.Home)
home.files = Path.cwd()
try:
    print(len(home._call({call}, dict(os.environ))))
except sweep_flow.Failed as error:
    print(sweep_flow.unmeasured("failed", error)["reason"])
"""
    done = subprocess.run(
        [sweep.environment.python, "-c", code],
        cwd=sweep.folder,
        env=sweep.environ() | {"PYTHONPATH": str(ROOT / "bench")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
