"""Verdicts on known distributions, and rows that must not meet."""

import dataclasses
import math

import numpy as np
import pytest
from observations import observe

from bench.errors import BenchError
from bench.results import AGAIN, STOCK, Row
from bench.statistics import (
    LEAST_ROUNDS,
    Verdict,
    compare_arms,
    compare_files,
    interval,
    select_newest,
)


@pytest.mark.parametrize("rounds", [LEAST_ROUNDS, 10, 30])
def test_the_interval_holds_the_truth_as_often_as_it_says(rounds: int) -> None:
    draw = np.random.default_rng(rounds)
    tries = 400
    held = 0
    for _ in range(tries):
        low, high = interval([draw.normal(0.3, 0.02, rounds)])
        held += low <= 0.3 <= high
    # 95 % less three standard errors of 400 tries, and half a percent for the bootstrap.
    assert held / tries >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / tries) - 0.005


def test_an_interval_of_two_files_holds_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    tries = 200
    held = 0
    for _ in range(tries):
        low, high = interval([draw.normal(0.3, 0.02, 8), draw.normal(0.1, 0.03, 10)])
        held += low <= 0.2 <= high
    assert held / tries >= 0.9


@pytest.mark.parametrize("spread", [0.002, 0.05])
def test_what_does_nothing_makes_no_difference(spread: float) -> None:
    verdicts = [
        contrast.verdict
        for seed in range(150)
        for contrast in compare_arms(observe({"patched": 1.0}, spread=spread, seed=seed))
    ]
    wrong = [verdict for verdict in verdicts if verdict is not Verdict.SAME]
    assert len(verdicts) == 150
    assert len(wrong) / len(verdicts) <= 0.05


@pytest.mark.parametrize(("ratio", "verdict"), [(1.05, Verdict.WORSE), (1 / 1.05, Verdict.BETTER)])
def test_a_planted_five_percent_is_found(ratio: float, verdict: Verdict) -> None:
    found = []
    for seed in range(50):
        [contrast] = compare_arms(observe({"patched": ratio}, seed=seed))
        assert contrast.low < contrast.ratio < contrast.high
        found.append(contrast.verdict)
    assert found.count(verdict) >= 48


def test_a_difference_below_the_named_minimum_is_none() -> None:
    [contrast] = compare_arms(observe({"patched": 1.01}, spread=0.0005))
    assert contrast.low > 1
    assert contrast.verdict is Verdict.SAME
    assert contrast.noise == 0.02


def test_a_noisy_machine_raises_the_floor() -> None:
    rows = [
        dataclasses.replace(row, value=row.value * 1.2) if row.arm == AGAIN else row
        for row in observe({"patched": 1.1})
    ]
    [contrast] = compare_arms(rows)
    assert contrast.noise > 0.15
    assert contrast.low > 1.02
    assert contrast.verdict is Verdict.SAME


def test_drift_within_rounds_cancels() -> None:
    rows = observe({"patched": 2.0, "patched+lz4": 0.1}, spread=0.0, drift=0.1)
    [contrast] = compare_arms(rows)[:1]
    assert contrast.ratio == pytest.approx(2.0, rel=0.005)


def test_exact_figures_need_no_luck() -> None:
    rows = [
        dataclasses.replace(row, metric="stored", unit="B", value=7e6 if "lz4" in row.arm else 8e6)
        for row in observe({"patched": 1.0, "patched+lz4": 1.0})
    ]
    verdicts = {contrast.arm: contrast.verdict for contrast in compare_arms(rows)}
    assert verdicts == {"patched": Verdict.SAME, "patched+lz4": Verdict.BETTER}


@pytest.mark.parametrize("missing", ["rounds", "A/A"])
def test_without_rounds_or_noise_floor_there_is_no_verdict(missing: str) -> None:
    if missing == "rounds":
        rows = observe({"patched": 2.0}, rounds=LEAST_ROUNDS - 1)
    else:
        rows = [row for row in observe({"patched": 2.0}) if row.arm != AGAIN]
    [contrast] = compare_arms(rows)
    assert contrast.verdict is Verdict.NONE
    assert contrast.ratio == pytest.approx(2.0, rel=0.05)


def test_a_round_that_was_interrupted_does_not_count() -> None:
    rows = observe({"patched": 1.0})
    torn = [row for row in rows if (row.round, row.position) < (9, 1)]
    torn += [
        dataclasses.replace(row, value=9.0) for row in rows if (row.round, row.position) == (9, 1)
    ]
    [contrast] = compare_arms(torn)
    assert contrast.rounds == 9


def test_rows_that_must_not_meet_are_kept_apart_by_name() -> None:
    newest = observe({"patched": 1.0}, time="2026-03-01T00:00:00Z")
    others = {
        "Other Processor (0123456789ab)": {"processor": "Other Processor"},
        "(ffffffffffff)": {"machine": "ffffffffffff"},
        "Python 3.13.0": {"python": "3.13.0"},
        "Metaflow 2.19.37": {"release": "2.19.37"},
        "save, with an older benchmark, series or library": {"series": "000000000000"},
    }
    builds = ({"bench": "000000000000"}, {"libraries": "numpy=1.0"})
    for columns in (*others.values(), *builds):
        older = observe({"patched": 3.0}, time="2026-02-01T00:00:00Z", **columns)
        selection = select_newest([*older, *newest])
        assert list(selection.rows) == newest
    mixed = [row for columns in others.values() for row in observe({"patched": 3.0}, **columns)]
    left_out = select_newest([*mixed, *newest]).left_out
    for name in others:
        assert any(name in line for line in left_out), name


def test_a_few_newer_rows_of_a_sweep_do_not_take_the_place_of_a_benchmark() -> None:
    wide = [
        row
        for payload in ("text", "embeddings")
        for row in observe({"patched": 1.0}, payload=payload, time="2026-02-01T00:00:00Z")
    ]
    swept = observe({"patched": 1.0}, time="2026-03-01T00:00:00Z", python="3.13.0")
    assert list(select_newest([*wide, *swept]).rows) == wide
    released = observe({"patched": 1.0}, time="2026-03-01T00:00:00Z", release="2.19.39")
    assert list(select_newest([*wide, *released]).rows) == released


def test_what_only_older_code_has_measured_stays() -> None:
    older = [
        row
        for payload in ("text", "embeddings")
        for row in observe(
            {"patched": 1.0}, payload=payload, time="2026-02-01T00:00:00Z", bench="0" * 12
        )
    ]
    newer = observe({"patched": 1.0}, payload="text", time="2026-03-01T00:00:00Z")
    kept = select_newest([*older, *newer]).rows
    assert {(row.payload, row.bench) for row in kept} == {
        ("text", newer[0].bench),
        ("embeddings", "0" * 12),
    }


def test_no_rows_are_refused() -> None:
    with pytest.raises(BenchError, match="run make bench"):
        select_newest([])


def test_files_are_compared_through_their_stocks() -> None:
    before = observe({"patched": 0.5}, seed=1)
    # A day on which everything takes twice as long, and the arm 10 % longer than that.
    after = observe({"patched": 0.55}, seed=2, seconds=0.2)
    [contrast] = compare_files(before, after)
    assert contrast.ratio == pytest.approx(1.1, rel=0.02)
    assert contrast.value / contrast.base == pytest.approx(2.2, rel=0.2)
    assert contrast.verdict is Verdict.WORSE
    [contrast] = compare_files(after, before)
    assert contrast.verdict is Verdict.BETTER


def test_files_of_the_same_arms_make_no_difference() -> None:
    verdicts = []
    for seed in range(60):
        before = observe({"patched": 0.5}, seed=seed)
        after = observe({"patched": 0.5}, seed=seed + 1000, seconds=0.3)
        verdicts += [contrast.verdict for contrast in compare_files(before, after)]
    assert verdicts.count(Verdict.SAME) / len(verdicts) >= 0.95


def test_stock_alone_gives_no_contrast() -> None:
    rows: list[Row] = [row for row in observe({}) if row.arm == STOCK]
    assert compare_arms(rows) == []
