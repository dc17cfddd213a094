"""Two steps: what the start of a run and of its tasks costs."""

from metaflow import FlowSpec, step


class HelloFlow(FlowSpec):
    @step
    def start(self) -> None:
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


if __name__ == "__main__":
    HelloFlow()
