"""The flow that the tests of cas-lz4 run: every kind of thing that ends up in a store."""

import os
import random

from metaflow import FlowSpec, IncludeFile, Parameter, step


class StoreFlow(FlowSpec):
    alpha = Parameter("alpha", default=0.1)
    text = IncludeFile("text", default="text.txt")

    @step
    def start(self):
        self.big = b"abc" * 100_000
        # What no codec makes smaller, in more than one piece.
        self.dense = random.Random(0).getrandbits(8 * 2_500_000).to_bytes(2_500_000, "big")
        self.none = None
        self.items = [1, 2]
        self.next(self.each, foreach="items")

    @step
    def each(self):
        self.y = (self.input, len(self.big))
        self.part = bytes([self.input]) * 1000
        self.next(self.join)

    @step
    def join(self, inputs):
        self.ys = [one.y for one in inputs]
        self.report = "a report\n" * 1000
        self.merge_artifacts(inputs, exclude=["y", "part"])
        if os.environ.get("FAIL_JOIN"):
            raise Exception("asked to fail")
        self.next(self.end)

    @step
    def end(self):
        assert self.big == b"abc" * 100_000
        assert self.ys == [(1, 300_000), (2, 300_000)]
        assert self.text == "what a file holds\n"
        print("alpha is", self.alpha)


if __name__ == "__main__":
    StoreFlow()
