"""Say how a run starts its first task: that command and its environment, as JSON.

The arguments are a flow's script and those of its run. Nothing is started: the run ends as it is
about to, and leaves behind what the task finds. An audit hook sees the call, so Metaflow is as its
users have it.
"""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


def stop_at_task(event: str, details: tuple[Any, ...]) -> None:
    """An audit hook for `subprocess.Popen`, whose details are: executable, arguments, folder,
    environment. A run asks git and others before it starts a task."""
    if event == "subprocess.Popen" and "step" in details[1]:
        _, command, _, env = details
        os.write(1, json.dumps({"command": list(command), "env": dict(env)}).encode())
        os._exit(0)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    sys.addaudithook(stop_at_task)
    runpy.run_path(sys.argv[0], run_name="__main__")
