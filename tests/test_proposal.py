"""The figures of data/sha1-proposal.md, and the attack that it speaks of."""

import struct

import pytest
import xxhash
from observations import observe

from bench.proposal import STRENGTHS, proposal_blocks
from bench.results import SHA, Row
from bench.statistics import select_newest


def hash_rows(**columns: str | int | float) -> list[Row]:
    ratios = {"SHA-256": 2.0, "BLAKE3": 0.25, "BLAKE3, 2 threads": 0.125}
    return observe(ratios, workload="hash", store="-", spread=0.0, **columns)


def test_speed_is_by_size_and_hash_and_machine() -> None:
    rows = hash_rows(payload="large", bytes=10**9, seconds=1.0)
    rows += hash_rows(payload="small", bytes=1000)
    other = {"machine": "fedcba987654", "processor": "Older", "time": "2026-01-30T00:00:00Z"}
    rows += hash_rows(payload="large", bytes=10**9, system=f"Linux 6.1, without {SHA}", **other)
    speed = proposal_blocks(rows, select_newest(rows))["speed"]
    first, second = speed.index("Processor @ 2.10GHz"), speed.index("Older")
    assert first < second
    assert f"{SHA} not recorded" in speed[first:second]
    assert f"without {SHA}" in speed[second:]
    lines = speed.splitlines()
    assert lines[2] == "|  | size | SHA-1 | SHA-256 | BLAKE3 | BLAKE3, 2 threads |"
    assert [line.split(" | ")[1] for line in lines[4:6]] == ["1.00 KB", "1.00 GB"]
    speeds = [float(cell.strip("| ").split()[0]) for cell in lines[5].split(" | ")[2:]]
    sha1 = speeds[0]
    assert lines[5].count("GB/s") + lines[5].count("MB/s") == len(speeds) == 4
    assert sha1 == pytest.approx(speeds[1] * 2, rel=0.03)


def test_a_save_shows_what_of_it_is_hashing() -> None:
    rows = observe({"patched": 0.1, "patched+blake3": 0.08, "floor": 0.02}, store="tmpfs")
    rows += hash_rows(seconds=0.005)
    saves = proposal_blocks(rows, select_newest(rows))["saves"]
    found = {line.split(" | ")[0].strip("| "): line for line in saves.splitlines()[2:]}
    assert list(found) == ["stock", "patched", "patched+blake3", "floor"]
    assert found["stock"].endswith("| 5% |")
    assert found["patched"].endswith("| 50% |")
    assert found["patched+blake3"].endswith("| 16% |")
    assert "| 4.0" in found["patched+blake3"] or "| 3.9" in found["patched+blake3"]
    assert found["floor"].endswith("|  |  |")


def test_without_rows_it_says_so() -> None:
    rows = observe({"patched": 0.1}, workload="import")
    blocks = proposal_blocks(rows, select_newest(rows))
    assert blocks["speed"] == blocks["saves"] == "Nothing is measured yet."


def test_chances_are_those_of_birthdays() -> None:
    rows = observe({"patched": 0.1})
    chance = proposal_blocks(rows, select_newest(rows))["chance"]
    # 2 ** 64 values: 190,000 contents have 2 ** -64 * n ** 2 / 2 = 10 ** -9.
    assert "| XXH3-64 | 64 | 10^5.3 | at once |" in chance
    assert "| BLAKE3 | 256 | 10^34.2 | 2^128 |" in chance


@pytest.mark.parametrize("name", [one.name for one in STRENGTHS if one.attack is None])
def test_contents_of_one_xxh3_are_written_down(name: str) -> None:
    """XXH3 multiplies the halves of each word, mixed with a public secret, and adds the word to a
    sum. Where the lower half is the secret's, the product is zero whatever the upper half is: what
    one such word gains, another one of the same sum loses."""
    digest = {"XXH3-64": xxhash.xxh3_64_hexdigest, "XXH3-128": xxhash.xxh3_128_hexdigest}[name]
    secrets = {0: bytes.fromhex("b8fe6c39"), 64: bytes.fromhex("7c01812c")}

    def make(first: int, second: int) -> bytes:
        content = bytearray(b"a model of somebody " * 30)
        for (at, secret), upper in zip(secrets.items(), (first, second), strict=True):
            content[at : at + 8] = secret + struct.pack("<I", upper)
        return bytes(content)

    harmless, harmful = make(1000, 1000), make(1, 1999)
    assert harmless != harmful
    assert digest(harmless) == digest(harmful)
    assert digest(make(1, 2000)) != digest(harmless)
