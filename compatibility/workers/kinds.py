"""The flow that every version writes and reads: one artifact of each kind of content.

Contents carry the writer's name, so that nothing stored or cached for one writer can stand in for
the same thing of another.
"""

import array
import functools
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from metaflow import FlowSpec, IncludeFile, Parameter, step

Make = Callable[[str], Any]


def make_noise(writer: str, size: int) -> bytes:
    return random.Random(writer).getrandbits(8 * size).to_bytes(size, "big")


def make_text(writer: str, size: int) -> str:
    draw = random.Random(writer)
    words = [f"{writer}{draw.randrange(10**6)}" for _ in range(500)]
    return " ".join(draw.choice(words) for _ in range(size // 12))


def make_floats(writer: str, count: int) -> "array.array[float]":
    draw = random.Random(writer)
    return array.array("d", (draw.gauss(0, 1) for _ in range(count)))


# Sizes on both sides of every limit at which some arm encodes in another way.
KINDS: dict[str, Make] = {
    "nothing": lambda _: None,
    "label": lambda writer: writer,
    "metrics": lambda writer: {"of": writer, "loss": [i / 7 for i in range(300)]},
    "text": lambda writer: make_text(writer, 40_000),
    "long_text": lambda writer: make_text(writer, 600_000),
    "noise": lambda writer: make_noise(writer, 200_000),
    "floats": lambda writer: make_floats(writer, 40_000),
    "pieces": lambda writer: [
        make_noise(writer, 1_800_000),
        make_text(writer, 300_000),
        bytes(900_000),
        writer,
    ],
}
# What a run is given. Of a file, clients of some releases return the contents and others a
# description, so that flows read it, and clients do not.
GIVEN: dict[str, Make] = {
    "alpha": lambda writer: writer,
    "included": lambda writer: f"a file of {writer}",
}
READ = KINDS | GIVEN


def read_all(kinds: Iterable[str], read: Callable[[str], Any], writer: str) -> dict[str, str]:
    """What reading each kind came to: "" for what was written, else what is wrong with it."""
    found = {}
    for kind in kinds:
        try:
            right = read(kind) == READ[kind](writer)
            found[kind] = "" if right else "another value than was written"
        except Exception as error:
            found[kind] = f"{type(error).__name__}: {error}"
    return found


class KindsFlow(FlowSpec):
    alpha = Parameter("alpha", default="")
    included = IncludeFile("included", default="included.txt")

    @step
    def start(self) -> None:
        for kind, make in KINDS.items():
            setattr(self, kind, make(os.environ["WRITER"]))
        self.next(self.end)

    @step
    def end(self) -> None:
        found = read_all(READ, functools.partial(getattr, self), os.environ["WRITER"])
        Path(os.environ["FOUND"]).write_text(json.dumps(found))


if __name__ == "__main__":
    KindsFlow()
