"""One task that keeps 16 arrays of 8 MB: what saving a model's state costs."""

import numpy as np

from metaflow import FlowSpec, step

# Each takes stock a quarter of a second: enough to hide the start of three processes.
ARRAYS = 16
LENGTH = 1_000_000  # float64: 8 MB


class CheckpointFlow(FlowSpec):
    @step
    def start(self) -> None:
        draw = np.random.default_rng(20240607)
        for n in range(ARRAYS):
            setattr(self, f"layer_{n:02}", draw.standard_normal(LENGTH))
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


if __name__ == "__main__":
    CheckpointFlow()
