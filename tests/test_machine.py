"""The machine's fingerprint: what may be compared, and what a virtual machine adds to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import machine
from bench.machine import Machine, this_machine

D2S_V5 = Machine(
    processor="Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz",
    cores=2,
    memory_gb=8.3,
    system="Linux 6.8.0-1020-azure, Ubuntu 24.04.2 LTS, Standard_D2s_v5 in westeurope",
    size="Standard_D2s_v5",
)


def test_one_size_on_two_processors_is_two_machines() -> None:
    other = replace(D2S_V5, processor="Intel(R) Xeon(R) Platinum 8473C")
    assert other.fingerprint != D2S_V5.fingerprint
    assert replace(D2S_V5, size="Standard_D2ds_v5").fingerprint != D2S_V5.fingerprint


def test_region_and_kernel_do_not_make_another_machine() -> None:
    moved = replace(D2S_V5, system="Linux 6.11, Ubuntu 24.04.3 LTS, Standard_D2s_v5 in uksouth")
    assert moved.fingerprint == D2S_V5.fingerprint


def test_committed_rows_keep_their_machine() -> None:
    # Of the first rows in data/results.tsv, made before machines had a size.
    here = Machine("AMD EPYC", 2, 25.3, "Linux")
    assert here.fingerprint == "99e804c39a51"


@pytest.mark.parametrize(
    ("cpuinfo", "said"),
    [
        ("flags\t\t: fpu avx2 sha_ni\n", "with SHA instructions"),
        ("Features\t: asimd aes sha1 sha2\n", "with SHA instructions"),
        ("model name\t: sha1 sum\nflags\t\t: fpu avx2\n", "without SHA instructions"),
        ("processor\t: 0\n", "without SHA instructions"),
    ],
)
def test_label_says_whether_sha1_has_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, said: str
) -> None:
    found = tmp_path / "cpuinfo"
    found.write_text(cpuinfo)
    monkeypatch.setattr(machine, "CPUINFO", found)
    assert this_machine().system.endswith(f", {said}")


def test_azure_tells_size_and_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tmp_path / "instance-data.json"
    monkeypatch.setattr(machine, "INSTANCE", found)
    nowhere = this_machine()
    assert nowhere.size is None
    compute = {"vmSize": "Standard_D2s_v5", "location": "westeurope"}
    found.write_text(json.dumps({"ds": {"meta_data": {"imds": {"compute": compute}}}}))
    azure = this_machine()
    assert azure.system == f"{nowhere.system}, Standard_D2s_v5 in westeurope"
    assert azure.size == "Standard_D2s_v5"
    assert azure.fingerprint != nowhere.fingerprint


@pytest.mark.parametrize(
    "content", ["", "[]", '{"ds": null}', '{"ds": {"meta_data": {"imds": {"compute": {}}}}}']
)
def test_another_cloud_is_no_azure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    found = tmp_path / "instance-data.json"
    found.write_text(content)
    monkeypatch.setattr(machine, "INSTANCE", found)
    assert this_machine().size is None
