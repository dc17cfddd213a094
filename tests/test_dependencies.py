"""What the names of wheels say."""

import pytest
from packaging.tags import sys_tags

from bench.dependencies import own_size, platforms
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
