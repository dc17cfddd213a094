"""The fault suites: a sample of them on real arms, and that a planted violation is counted."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from sandbox import ROOT

from bench.arms import SERIES, UPSTREAM
from bench.environments import Environments, Tree
from bench.errors import BenchError
from bench.results import NONE, STOCK
from patchstack.prefix import prefix
from patchstack.project import Project
from patchstack.series import load_series
from patchstack.source import pinned_source
from resilience.results import Fault, faults_block, load_faults, write_faults
from resilience.runner import QUICK, install_arms, run_faults, scratch, write_corpus

ENVIRONMENTS = Environments(ROOT / "build" / "bench" / "environments")
CAS = "datastore/content_addressed_store.py"
LOCAL = "plugins/datastores/local_storage.py"
# Takes the checksum for granted.
CARELESS = """

def _careless(self, blob):
    import zlib
    return zlib.decompressobj(-15).decompress(blob.read()[10:])

ContentAddressedStore._unpack_v1 = _careless
"""
# Writes in place, and slowly: what is killed leaves half an object.
IN_PLACE = """

def _in_place(full_path, data, mode="wb"):
    import time
    with open(full_path, mode, 0) as file:
        for start in range(0, len(data), 1000):
            file.write(data[start:start + 1000])
            time.sleep(0.0001)

LocalStorage._atomic_write = staticmethod(_in_place)
"""


@pytest.fixture(scope="session")
def trees() -> Mapping[str, Tree]:
    project = Project(ROOT)
    series = load_series(project)
    source = pinned_source(project, series.pin)
    parts = {UPSTREAM: (), SERIES: series.topics}
    made = {name: prefix(project, series, source, topics) for name, topics in parts.items()}
    return {name: Tree(one.tree, one.wheel, one.digest or NONE) for name, one in made.items()}


def test_no_arm_breaks_what_stock_keeps(trees, tmp_path) -> None:
    faults = run_faults(tmp_path, ENVIRONMENTS, trees, QUICK, print)
    by_arm: dict[str, dict[tuple[str, str, str], Fault]] = {}
    for one in faults:
        by_arm.setdefault(one.arm, {})[one.promise, one.fault, one.format] = one
    stock = by_arm.pop(STOCK)
    assert set(by_arm) == {"patched", "patched+isal", "patched+lz4", "patched+blake3"}
    for arm, found in by_arm.items():
        for (promise, fault, format), one in found.items():
            assert one.cases or one.example.startswith("skipped: "), one
            # What is read is what the key stands for, or it is an error.
            assert not one.silent, (arm, one)
            # Stock reads no LZ4: it is held to what stock's own format keeps.
            like = stock.get((promise, fault, "gzip" if format == "LZ4" else format))
            # Whether a reader meets the gap while an object is away is luck, for stock too.
            luck = fault == "object comes and goes"
            if like is not None and not like.violations and format != "raw" and not luck:
                assert not one.violations, (arm, one)
    # What has a checksum is never other bytes, whatever happens to a bit of it.
    for one in faults:
        if one.fault.startswith(("bit flip", "cut", "hypothesis: bytes")) and one.format != "raw":
            assert not one.silent, one
    assert {one.format for one in faults if one.fault == "bit flip in the body"} == {
        *("gzip", "gzip, stored", "gzip, isal", "LZ4", "raw")
    }


@pytest.mark.parametrize(
    ("worker", "file", "planted", "broken"),
    [
        (
            "corruption",
            "datastore/content_addressed_store.py",
            CARELESS,
            "cut anywhere",
        ),
        ("corruption", "datastore/content_addressed_store.py", CARELESS, "bit flip in the body"),
        ("processes", "plugins/datastores/local_storage.py", IN_PLACE, "kill -9 during saves"),
    ],
)
def test_a_planted_violation_is_counted(trees, tmp_path, worker, file, planted, broken) -> None:
    shutil.copytree(trees[UPSTREAM].source / "metaflow", tmp_path / "metaflow")
    with (tmp_path / "metaflow" / file).open("a") as source:
        source.write(planted)
    arms = {arm.name: arm for arm in install_arms(ENVIRONMENTS, trees)}
    with scratch(tmp_path) as folder:
        corpus = write_corpus(arms, folder / "corpus")
        place = folder / "place"

        def violations(**env: str) -> int:
            place.mkdir()
            arguments = {"corruption": (corpus, place, "100", "40"), "processes": (place, "20")}
            said = json.loads(arms[STOCK].run(worker, *arguments[worker], env=env))
            shutil.rmtree(place)
            found = [one for one in said if (one["fault"], one["format"]) == (broken, "gzip")]
            assert sum(one["cases"] for one in found) > 0
            return sum(one["violations"] for one in found)

        assert violations() == 0
        assert violations(PYTHONPATH=str(tmp_path)) > 0


def test_a_suite_that_does_not_run_is_no_result(trees, tmp_path) -> None:
    stock = install_arms(ENVIRONMENTS, trees)[0]
    with pytest.raises(BenchError, match="corruption under stock failed: FileNotFoundError"):
        stock.run("corruption", tmp_path / "nowhere", tmp_path, "1", "1")


def fault(arm: str, **fields: object) -> Fault:
    values: dict[str, object] = {
        "promise": "right bytes",
        "fault": "bit flip",
        "arm": arm,
        "format": "gzip",
        "cases": 1200,
        "violations": 0,
        "silent": 0,
        "example": "",
        "series": NONE,
        "python": "3.11.7",
    }
    return Fault(**values | fields)  # type: ignore[arg-type]


def test_rows_survive_the_file_and_the_table_shows_them(tmp_path) -> None:
    faults = [
        fault(STOCK, violations=3, silent=2, example="bit 3: a|b"),
        fault("patched"),
        fault("patched", fault="fuzzed", cases=0, example="skipped: no wheel"),
    ]
    path: Path = tmp_path / "data" / "faults.tsv"
    write_faults(path, faults)
    assert load_faults(path) == faults
    block = faults_block(faults)
    assert "| right bytes | bit flip | gzip | 3 of 1,200, 2 **silent** | 0 of 1,200 |" in block
    assert "| right bytes | fuzzed | gzip |  | skipped |" in block.partition("held")[2]
    assert "| bit flip | gzip | `bit 3: a\\|b` | stock |" in block
