"""The five payloads of the original study, deterministic, by name.

Imported in the process of an arm: needs numpy and nothing of this repository.
"""

import random
from typing import Any

import numpy as np

SEED = 20240607


def small_dict() -> Any:
    """A flow's configuration: about 230 bytes pickled."""
    return {
        "learning_rate": 0.001,
        "batch_size": 256,
        "epochs": 40,
        "optimizer": "adam",
        "layers": [512, 256, 128],
        "dropout": 0.1,
        "seed": SEED,
        "dataset": "warehouse.features.daily",
        "early_stopping": True,
        "metrics": ["auc", "logloss", "precision"],
    }


def metrics_dict() -> Any:
    """Statistics of 500 features: about 50 KB pickled."""
    draw = random.Random(SEED)
    names = ("mean", "std", "min", "max", "p50", "p95", "missing")
    return {f"feature_{n:03}": {name: draw.gauss(0, 1) for name in names} for n in range(500)}


def embeddings() -> Any:
    """100,000 float64 from a normal distribution: 800 KB."""
    return np.random.default_rng(SEED).standard_normal(100_000)


def model_weights() -> Any:
    """1,000,000 float64 from a normal distribution: 8 MB."""
    return np.random.default_rng(SEED).standard_normal(1_000_000)


def opaque_model() -> Any:
    """Random bytes, as of a compressed or encrypted model: 5 MB."""
    return random.Random(SEED).randbytes(5_000_000)


STUDY = {
    "small dict": small_dict,
    "metrics dict": metrics_dict,
    "embeddings": embeddings,
    "model weights": model_weights,
    "opaque model": opaque_model,
}
