"""A foreach over 40 short tasks, or WIDTH: what starting many costs."""

import os
from typing import Any

from metaflow import FlowSpec, step

WIDTH = int(os.environ.get("WIDTH", "40"))


class ForeachFlow(FlowSpec):
    @step
    def start(self) -> None:
        self.numbers = list(range(WIDTH))
        self.next(self.square, foreach="numbers")

    @step
    def square(self) -> None:
        self.result = self.input**2
        self.next(self.join)

    @step
    def join(self, inputs: list[Any]) -> None:
        self.results = [one.result for one in inputs]
        self.next(self.end)

    @step
    def end(self) -> None:
        assert sum(self.results) == sum(n * n for n in range(WIDTH))


if __name__ == "__main__":
    ForeachFlow()
