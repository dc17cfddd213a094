"""Targets: held against what was measured, beside the limit of the same rounds."""

from pathlib import Path

import pytest
from observations import observe

from bench.arms import ARMS
from bench.results import Row
from bench.targets import (
    ANY,
    TARGETS,
    Base,
    Outcome,
    Target,
    judge_targets,
    load_targets,
    remaining_block,
    target_grid,
    targets_block,
)
from bench.workloads import all_cases

ROOT = Path(__file__).parents[1]
SAVE = Target("topic", "patched", "save", "model weights", "local", "time", Base.STOCK, 10)


def ask(number: float, **changes: object) -> Target:
    return Target(**{**vars(SAVE), "number": number, **changes})


def outcome(target: Target, rows: list[Row]) -> Outcome:
    (found,) = judge_targets([target], rows)
    return found.outcome


@pytest.mark.parametrize(
    ("number", "floor", "expected"),
    [
        (9, 0.01, Outcome.REACHED),
        (11, 0.01, Outcome.MISSED),
        (21, 0.05, Outcome.BEYOND),
        (9, 0.2, Outcome.REACHED),  # what is reached is not beyond anything
    ],
)
def test_a_target_is_judged_by_the_ratio_and_the_limit(number, floor, expected) -> None:
    rows = observe({"patched": 0.1, "floor": floor})
    assert outcome(ask(number), rows) is expected


def test_what_was_not_measured_or_too_rarely_is_not_judged() -> None:
    rows = observe({"patched": 0.1}, rounds=5)
    assert outcome(ask(9), rows) is Outcome.NONE
    assert judge_targets([ask(9)], rows)[0].measured.endswith("x, 5 of 6 rounds")
    assert outcome(ask(9, arm="another"), rows) is Outcome.NONE
    assert outcome(ask(9, store="s3"), rows) is Outcome.NONE
    # Without its limit, a target is not beyond it.
    assert outcome(ask(99), observe({"patched": 0.1})) is Outcome.MISSED


def test_a_multiple_of_the_floor_is_at_most_that() -> None:
    rows = observe({"patched": 0.015, "floor": 0.01})
    assert outcome(ask(1.7, base=Base.FLOOR), rows) is Outcome.REACHED
    assert outcome(ask(1.3, base=Base.FLOOR), rows) is Outcome.MISSED
    (found,) = judge_targets([ask(1.7, base=Base.FLOOR)], rows)
    assert found.measured.startswith("1.5")
    assert found.limit == ""


def test_of_all_payloads_the_worst_decides() -> None:
    rows = observe({"patched": 0.1}) + observe({"patched": 0.5}, payload="text")
    assert outcome(ask(9, payload=ANY), rows) is Outcome.MISSED
    (found,) = judge_targets([ask(1.9, payload=ANY)], rows)
    assert found.outcome is Outcome.REACHED
    assert "(text)" in found.measured


def test_a_target_without_a_gain_is_missed_beyond_the_noise_only() -> None:
    same, worse = observe({"patched": 1.0}), observe({"patched": 1.3}, payload="text")
    assert outcome(ask(1, payload=ANY), same) is Outcome.REACHED
    assert outcome(ask(1, payload=ANY), same + worse) is Outcome.MISSED


def test_bytes_are_judged_as_they_are() -> None:
    of_object = observe({"patched": 0.05}, metric="peak_memory", unit="B", seconds=8e6, spread=0)
    share = ask(0.1, metric="peak_memory", base=Base.OBJECT)
    assert outcome(share, of_object) is Outcome.REACHED
    assert outcome(ask(0.01, metric="peak_memory", base=Base.OBJECT), of_object) is Outcome.MISSED
    # No memory at all has no ratio, and is the best there is.
    none = observe({"patched": 0.0}, metric="peak_memory", unit="B")
    assert outcome(share, none) is Outcome.REACHED
    # The floor, which compresses nothing, is no limit of bytes.
    larger = observe({"patched": 1.1, "floor": 1.2}, metric="stored", unit="B")
    assert outcome(ask(0.98, metric="stored"), larger) is Outcome.MISSED
    stored = observe({"patched": 1.0}, metric="stored", unit="B", spread=0, drift=0)
    assert outcome(ask(16, metric="stored", base=Base.EXTRA), stored) is Outcome.REACHED


def test_a_table_says_what_is_asked_and_what_is_missing() -> None:
    rows = observe({"patched": 0.1, "floor": 0.05})
    judged = judge_targets([ask(9), ask(21), ask(1, payload=ANY)], rows)
    first, second, third = target_grid(judged).rows
    assert first[:4] == ("topic", "patched", "save model weights, local: time", "9x")
    assert (first[-1], second[-1]) == ("reached", "not reached and beyond the limit")
    assert second[-2].startswith(("19", "20"))
    assert third[2:4] == ("save all payloads, local: time", "not worse")
    counts = "Of 3 targets, 2 reached, 1 not reached and beyond the limit"
    assert targets_block(judged).startswith(f"{counts}.\n")
    assert remaining_block(judged) == f"{counts}: [each of them](status.md#targets)."


def test_the_targets_of_this_project_name_what_exists() -> None:
    cells = {
        (workload, payload, case.store)
        for case in all_cases()
        for workload in case.workloads
        for payload in (*case.payloads, ANY)
    }
    for target in load_targets(ROOT / TARGETS):
        assert target.arm in {arm.name for arm in ARMS}, target
        cell = (target.workload, target.payload, target.store)
        assert cell in cells, target
