"""Synthetic rows: observations of known distributions, in rounds that run forth and back."""

import numpy as np

from bench.results import AGAIN, STOCK, Row


def observe(
    ratios: dict[str, float],
    *,
    rounds: int = 10,
    spread: float = 0.01,
    seed: int = 1,
    seconds: float = 0.1,
    drift: float = 0.01,
    **columns: str | int | float,
) -> list[Row]:
    """Rows of one cell in one session: `ratios` gives each arm's true ratio to stock.

    Every round is up to half as slow again as the next, and drifts by a fraction of `drift` from
    its first to its last observation; every observation has log-normal noise of `spread`.
    """
    draw = np.random.default_rng(seed)
    arms = {STOCK: 1.0, AGAIN: 1.0} | ratios
    rows = []
    for number in range(rounds):
        pace = seconds * (1 + draw.random() / 2)
        order = list(arms)[:: -1 if number % 2 else 1]
        for position, arm in enumerate(order):
            slower = 1 + drift * position / len(order)
            value = pace * slower * arms[arm] * float(np.exp(draw.normal(0, spread)))
            row = {"round": number, "position": position, "arm": arm, "value": value}
            row["series"] = "-" if arm in (STOCK, AGAIN) else "5e41e5000001"
            row["time"] = f"2026-01-31T12:{number:02}:{position:02}Z"
            rows.append(Row(**(COLUMNS | row | columns)))  # type: ignore[arg-type]
    return rows


COLUMNS: dict[str, str | int | float] = {
    "session": "20260131T120000Z-1",
    "machine": "0123456789ab",
    "processor": "Processor @ 2.10GHz",
    "cores": 2,
    "memory_gb": 23.4,
    "system": "Linux 6.1",
    "python": "3.12.3",
    "libraries": "numpy=2.1.0",
    "release": "2.19.38",
    "bench": "abcdef012345",
    "workload": "save",
    "payload": "model weights",
    "store": "local",
    "metric": "time",
    "bytes": 8_000_163,
    "unit": "s",
}
