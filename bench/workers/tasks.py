"""The floor of a flow: as many bare Python processes as it has tasks, and one that starts them.

Each imports the modules of the standard library that Metaflow needs (needed.py), and nothing else.
A step begins when the one before it has ended, and at most `MOST` tasks run at a time: what a run
does unless it is told otherwise (--max-workers).

Arguments: the flow, and the line that imports the modules.
"""

import os
import sys

# Tasks of each step of the flows in bench/flows.
STEPS = {"hello": (1, 1), "foreach": (1, 40, 1, 1), "foreach 400": (1, 400, 1, 1)}
MOST = 16


def run_step(tasks: int, line: str) -> None:
    for started in range(tasks):
        if started >= MOST:
            wait()
        os.posix_spawn(sys.executable, [sys.executable, "-c", line], os.environ)
    for _ in range(min(tasks, MOST)):
        wait()


def wait() -> None:
    """Wait for whichever task ends first."""
    if os.wait()[1]:
        sys.exit(1)


if __name__ == "__main__":
    flow, line = sys.argv[1:]
    exec(line)
    for tasks in STEPS[flow]:
        run_step(tasks, line)
