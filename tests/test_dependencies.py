"""What the names of wheels say, and what is found of a package."""

from platform import python_version

import pytest
from packaging.tags import sys_tags

from bench.dependencies import gather_dependency, own_size, platforms
from bench.errors import BenchError


def test_platforms_are_those_of_cpython_in_a_fixed_order() -> None:
    wheels = {
        "lz4-4.4.5-cp312-cp312-win_amd64.whl": 1,
        "lz4-4.4.5-cp312-cp312-win32.whl": 1,
        "lz4-4.4.5-cp312-cp312-macosx_11_0_arm64.whl": 1,
        "lz4-4.4.5-cp312-cp312-manylinux2014_aarch64.manylinux_2_17_aarch64.whl": 1,
        "lz4-4.4.5-cp312-cp312-manylinux2014_ppc64le.whl": 1,
        "lz4-4.4.5-pp311-pypy311_pp73-musllinux_1_2_x86_64.whl": 1,
        "lz4-4.4.5-cp313-cp313-ios_13_0_arm64_iphoneos.whl": 1,
    }
    assert list(platforms(wheels)) == ["Linux arm64", "macOS arm64", "Windows x86-64"]


def test_the_size_is_that_of_the_wheel_this_python_prefers() -> None:
    best, *_, last = sys_tags()
    wheels = {
        f"lz4-4.4.5-{last}.whl": 1,
        f"lz4-4.4.5-{best}.whl": 2,
        "lz4-4.4.5-cp27-cp27mu-win_amd64.whl": 3,
    }
    assert own_size(wheels) == 2


def test_a_package_without_a_wheel_for_this_machine_is_refused() -> None:
    with pytest.raises(BenchError, match="fits this machine"):
        own_size({"lz4-4.4.5-cp27-cp27mu-win_amd64.whl": 3})


def test_a_package_is_looked_up_and_its_import_timed(monkeypatch) -> None:
    with pytest.raises(BenchError, match="uv lock failed: "):
        gather_dependency("metaflow-perf-no-such-package", "nothing")
    monkeypatch.setattr(
        "bench.dependencies.PYTHONS", ("3.6", python_version())
    )  # the index is slow
    found = gather_dependency("xxhash", "xxhash")
    assert "Linux x86-64" in found.platforms
    assert found.oldest.startswith("3.6: ")
    assert 0 < found.import_seconds < 1
    assert found.wheel_bytes > 1000
