"""One task that keeps twelve small artifacts: what each of them costs."""

from metaflow import FlowSpec, step

ARTIFACTS = 12


class TwelveFlow(FlowSpec):
    @step
    def start(self) -> None:
        for n in range(ARTIFACTS):
            setattr(self, f"artifact_{n:02}", list(range(n, n + 100)))
        self.next(self.end)

    @step
    def end(self) -> None:
        assert self.artifact_03[0] == 3


if __name__ == "__main__":
    TwelveFlow()
