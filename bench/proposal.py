"""data/sha1-proposal.md: the figures of the argument about the hash of content.

Measured ones are from the rows of workload `hash`, on every machine that has any, and of saves on
the newest. Those of chance follow from the number of bits: among n contents there are about
n ** 2 / 2 pairs, and each is equal with probability 2 ** -bits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median

from bench.results import AGAIN, FLOOR, PATCHED, SHA, STOCK, Row
from bench.statistics import Selection, compare_arms, environment, select
from bench.tables import Grid, markdown, marked, quantity
from bench.workloads import TMPFS

# What stock hashes with, and where rows of it are found.
SHA1 = "SHA-1"
# What hashes in an arm that saves, by its name.
SAVES = {STOCK: SHA1, PATCHED: SHA1, "patched+blake3": "BLAKE3"}
PAYLOAD = "model weights"
# A chance that nobody need think of.
ACCIDENT = 1e-9


@dataclass(frozen=True)
class Strength:
    """What a hash withstands."""

    name: str
    bits: int
    # Binary logarithm of the work for two contents with one hash; None where they can be written
    # down at once (tests/test_proposal.py does it).
    attack: float | None


STRENGTHS = (
    Strength("XXH3-64", 64, None),
    Strength("XXH3-128", 128, None),
    # Both with a beginning that the attacker chooses: Leurent, Peyrin, "SHA-1 is a Shambles",
    # USENIX Security 2020.
    Strength(SHA1, 160, 63.4),
    Strength("SHA-256", 256, 128),
    Strength("BLAKE2b", 512, 256),
    Strength("BLAKE3", 256, 128),
)


def proposal_blocks(rows: Sequence[Row], newest: Selection) -> dict[str, str]:
    """The generated blocks, by name."""
    return {
        "speed": _speeds(rows),
        "saves": _saves(newest.rows),
        "chance": markdown(_chances()),
    }


def _speeds(rows: Sequence[Row]) -> str:
    """A table for each machine, the newest first."""
    hashed = [row for row in rows if row.workload == "hash"]
    newest_first = sorted(hashed, key=attrgetter("time"), reverse=True)
    parts = []
    for place in dict.fromkeys(map(environment, newest_first)):
        selected = select(hashed, place).rows
        last = max(selected, key=attrgetter("time"))
        parts.append(
            f"{last.processor}, {last.cores} cores, {_sha(last.system)}; Python {last.python}, "
            f"{last.time[:10]}:\n\n{markdown(_speed_grid(selected))}"
        )
    return "\n\n".join(parts) or "Nothing is measured yet."


def _sha(system: str) -> str:
    said = [part for part in system.split(", ") if part.endswith(SHA)]
    return said[0] if said else f"{SHA} not recorded"


def _speed_grid(rows: Sequence[Row]) -> Grid:
    """Bytes in a second, by size of what is hashed and by hash."""
    found = _medians(rows)
    arms = tuple(dict.fromkeys(arm for arm in map(attrgetter("arm"), rows) if arm in found))
    sizes = {row.payload: row.bytes for row in sorted(rows, key=attrgetter("bytes"))}
    lines = tuple(
        (payload, quantity(size, "B"), *(_speed(size, found[arm].get(payload)) for arm in arms))
        for payload, size in sizes.items()
    )
    return Grid(("", "size", *(SHA1 if arm == STOCK else arm for arm in arms)), lines)


def _speed(size: int, seconds: float | None) -> str:
    return f"{quantity(size / seconds, 'B')}/s" if seconds else ""


def _medians(rows: Sequence[Row]) -> Mapping[str, dict[str, float]]:
    """Seconds by arm and payload, without the second stock."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        values.setdefault(row.arm, {}).setdefault(row.payload, []).append(row.value)
    return {
        arm: {payload: median(times) for payload, times in by_payload.items()}
        for arm, by_payload in values.items()
        if arm != AGAIN
    }


def _saves(rows: Sequence[Row]) -> str:
    """What a save takes, and how much of that is hashing the same bytes alone."""
    saves = [
        row
        for row in rows
        if (row.workload, row.payload, row.store, row.metric) == ("save", PAYLOAD, TMPFS, "time")
    ]
    took = {arm: times[PAYLOAD] for arm, times in _medians(saves).items()}
    hashes = _medians([row for row in rows if row.workload == "hash"])
    alone = {SHA1: hashes.get(STOCK, {}), "BLAKE3": hashes.get("BLAKE3", {})}
    gains = {one.arm: marked(one) for one in compare_arms(saves)}
    lines = []
    for arm in (*SAVES, FLOOR):
        if arm not in took:
            continue
        seconds = alone[SAVES[arm]].get(PAYLOAD) if arm in SAVES else None
        lines.append(
            (
                *(arm, quantity(took[arm], "s"), gains.get(arm, "")),
                f"{took[arm] / took[FLOOR]:.2f}x" if FLOOR in took else "",
                quantity(seconds, "s") if seconds else "",
                f"{seconds / took[arm]:.0%}" if seconds else "",
            )
        )
    header = ("arm", "save", "to stock", "to the floor", "hash alone", "share")
    return markdown(Grid(header, tuple(lines))) if lines else "Nothing is measured yet."


def _chances() -> Grid:
    lines = tuple(
        (
            *(one.name, str(one.bits)),
            f"10^{math.log10(2 * ACCIDENT) / 2 + math.log10(2) * one.bits / 2:.1f}",
            "at once" if one.attack is None else f"2^{one.attack:g}",
        )
        for one in STRENGTHS
    )
    return Grid(("hash", "bits", "contents", "attack"), lines)
