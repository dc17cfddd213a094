"""Time how long the runtime takes to find out that all splits of a foreach have finished.

The runtime is a real one, with a local datastore and local metadata, but no task runs: each split
is reported as finished, in a random order, to the method that queues what follows. The loop that
calls it also starts tasks and reads what they print. Processor time: nothing in it waits, and the
longest takes too long for a machine to be quiet all the while.
"""

import random
import statistics
import tempfile
import time
from typing import Any

from metaflow.datastore.flow_datastore import FlowDataStore
from metaflow.event_logger import NullEventLogger
from metaflow.graph import FlowGraph
from metaflow.metaflow_environment import MetaflowEnvironment
from metaflow.monitor import NullMonitor
from metaflow.plugins.datastores.local_storage import LocalStorage
from metaflow.plugins.metadata_providers.local import LocalMetadataProvider
from metaflow.runtime import NativeRuntime
from metaflow.tuple_util import ForeachFrame
from work import Finding, finding, run

from metaflow import FlowSpec, step

MOST = 5
SECONDS = 0.5


class WideFlow(FlowSpec):
    @step
    def start(self) -> None:
        self.next(self.work, foreach="splits")

    @step
    def work(self) -> None:
        self.next(self.join)

    @step
    def join(self, inputs: Any) -> None:
        self.width = len(list(inputs))
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


class Finished:
    """What the runtime reads of a task that has finished."""

    step, is_cloned, ubf_context = "work", False, None

    class results(dict[str, Any]):
        def is_none(self, name: str) -> bool:
            return self.get(name) is None

    results = results(_transition=(["join"], None))  # type: ignore[assignment,misc]

    def __init__(self, index: int, splits: int) -> None:
        self.task_index = f"work[{index}][]"
        self.path = f"run/{self.task_index}"
        self.finished_id = "work", (ForeachFrame("start", "splits", splits, index, 0),), ()


def make_runtime(root: str) -> NativeRuntime:
    """As `run` makes it, of a flow without a command line."""
    LocalStorage.datastore_root = root
    flow, graph = WideFlow(use_cli=False), FlowGraph(WideFlow)
    environment = MetaflowEnvironment(flow)
    logger, monitor = NullEventLogger(flow, environment), NullMonitor(flow, environment)
    return NativeRuntime(
        flow,
        graph,
        FlowDataStore("WideFlow", environment, storage_impl=LocalStorage, ds_root=root),
        LocalMetadataProvider(environment, flow, logger, monitor),
        environment,
        None,
        print,
        [],
        logger,
        monitor,
    )


def measure(splits: int, root: str) -> float:
    """Seconds of processor time for all splits of one foreach."""
    runtime = make_runtime(root)
    tasks = [Finished(index, splits) for index in range(splits)]
    random.Random(splits).shuffle(tasks)
    begin = time.process_time()
    for task in tasks:
        runtime._queue_tasks([task])
    seconds = time.process_time() - begin
    ((name, join),) = runtime._run_queue
    if (name, len(join["input_paths"])) != ("join", splits):
        raise SystemExit(f"the join of {splits} splits was not queued once, with all of them")
    return seconds


def work(assignment: dict[str, Any]) -> list[Finding]:
    findings = []
    with tempfile.TemporaryDirectory() as root:
        for name in assignment["payloads"]:
            timings: list[float] = []
            while len(timings) < MOST and sum(timings) < SECONDS:
                timings.append(measure(int(name.split()[0].replace(",", "")), root))
            findings.append(finding("join", name, "time", statistics.median(timings)))
    return findings


if __name__ == "__main__":
    run(work)
