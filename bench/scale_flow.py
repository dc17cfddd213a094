"""The shape of the sweep, with nothing in its cells: what scheduling them costs.

With SCALE_TEMPLATE, the tasks of the foreach are simulated: the scheduler starts a process for each
as ever, but that process only writes what the scheduler and the join will read of a task, copied
from a real one. Scheduler, datastore, metadata, start and join are real.
"""

import gzip
import hashlib
import json
import os
import pickle
import resource
import sys
from pathlib import Path
from typing import Any

# The folder of this file has a statistics.py, which is not the standard library's.
sys.path[:] = [one for one in sys.path if Path(one).resolve() != Path(__file__).resolve().parent]

from metaflow import FlowSpec, Parameter, step  # noqa: E402

# The rows of a cell take about as much.
FOUND = "x" * 4000


class ScaleFlow(FlowSpec):
    width = Parameter("width", type=int, required=True)

    @step
    def start(self) -> None:
        self.cells = list(range(self.width))
        self.next(self.measure, foreach="cells")

    @step
    def measure(self) -> None:
        self.found = f"{self.input}{FOUND}"
        self.next(self.join)

    @step
    def join(self, inputs: Any) -> None:
        self.characters = sum(len(one.found) for one in inputs)
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


def simulate(template: Path, width: int) -> None:
    """Let tasks of the foreach be scale_task.py: `sys.executable` is what the runtime starts."""
    command = template / "python"
    task = Path(__file__).with_name("scale_task.py")
    command.write_text(
        "#!/bin/sh\n"
        f'case " $* " in *" step measure "*) exec {sys.executable} -IS {task} {template} "$@";; '
        f'*) exec {sys.executable} "$@";; esac\n'
    )
    command.chmod(0o755)
    if os.fork() == 0:  # not on the scheduler's account
        write_stacks(template, width)
        os._exit(0)
    assert os.wait()[1] == 0
    sys.executable = str(command)


def write_stacks(template: Path, width: int) -> None:
    """The one artifact in which tasks of a foreach differ, for each: where they are in it."""
    data = json.loads((template / "0.data.json").read_text())
    blobs = template.parents[2] / "data"
    key = data["objects"]["_foreach_stack"]
    (frame,) = pickle.loads(unpacked((blobs / key[:2] / key).read_bytes()))
    keys = []
    for index in range(width):
        stack = [frame._replace(index=index, num_splits=width, value=str(index))]
        content = pickle.dumps(stack, protocol=4)
        made = hashlib.sha1(content).hexdigest()
        keys.append(made)
        blob = blobs / made[:2] / made
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(gzip.compress(content, 3))
        blob.with_name(f"{made}_meta").write_text('{"cas_raw": false, "cas_version": 1}')
    (template / "stacks").write_text("\n".join(keys))


def unpacked(blob: bytes) -> bytes:
    return gzip.decompress(blob) if blob[:2] == b"\x1f\x8b" else blob


def note_costs(file: Path) -> None:
    """Seconds of processor time, of this process and of the tasks that it waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    file.write_text(json.dumps([one.ru_utime + one.ru_stime for one in spent]))


if __name__ == "__main__":
    scheduling = "run" in sys.argv
    if scheduling and "SCALE_TEMPLATE" in os.environ:
        simulate(Path(os.environ["SCALE_TEMPLATE"]), int(sys.argv[sys.argv.index("--width") + 1]))
    try:
        ScaleFlow()
    finally:
        if scheduling:
            note_costs(Path(os.environ["SCALE_COSTS"]))
