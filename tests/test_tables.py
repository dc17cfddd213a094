"""Figures as text."""

import dataclasses
import math

import pytest
from observations import observe

from bench.statistics import Contrast, Verdict, compare_arms
from bench.tables import beside_stock, gain, markdown, quantity, verdict, verdicts


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0291, "s", "29.1 ms"),
        (0.9999, "s", "1.00 s"),
        (1234, "s", "1230 s"),
        (3.41e-7, "s", "341 ns"),
        (233, "B", "233 B"),
        (999.9, "B", "1.00 KB"),
        (8e6, "B", "8.00 MB"),
        (0, "B", "0 B"),
        (0.999, "1", "0.999"),
    ],
)
def test_quantities_have_three_digits_and_a_fitting_unit(
    value: float, unit: str, text: str
) -> None:
    assert quantity(value, unit) == text


def contrasts(rounds: int = 10) -> list[Contrast]:
    return compare_arms(observe({"patched": 1.0, "patched+lz4": 0.1}, rounds=rounds))


def test_worse_is_less_than_one_and_never_turned_round() -> None:
    contrast = dataclasses.replace(contrasts()[0], ratio=2.0, low=1.6, high=2.5)
    assert gain(contrast) == "0.500x [0.400, 0.625]"


@pytest.mark.parametrize(
    ("unit", "found", "word"),
    [
        ("s", Verdict.BETTER, "faster"),
        ("s", Verdict.WORSE, "slower"),
        ("B", Verdict.BETTER, "smaller"),
        ("B", Verdict.WORSE, "larger"),
        ("B", Verdict.SAME, "no difference"),
    ],
)
def test_verdicts_are_words_of_what_was_measured(unit: str, found: Verdict, word: str) -> None:
    assert verdict(dataclasses.replace(contrasts()[0], unit=unit, verdict=found)) == word


def test_too_few_rounds_show_no_interval() -> None:
    [first, _] = contrasts(rounds=3)
    assert math.isnan(first.noise)
    assert verdict(first) == "3 of 6 rounds"
    assert "[" not in gain(first)


def test_a_document_has_a_line_for_each_payload_and_a_column_for_each_arm() -> None:
    lines = markdown(beside_stock(contrasts())).splitlines()
    assert lines[0] == "|  | pickled | stock | patched | patched+lz4 | noise |"
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert len(lines) == 3
    assert "| ▲ 10." in lines[2]


def test_a_terminal_has_a_line_for_each_arm() -> None:
    assert [row[:2] for row in verdicts(contrasts()).rows] == [
        ("model weights", "patched"),
        ("model weights", "patched+lz4"),
    ]
