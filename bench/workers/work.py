"""What the processes of an arm share: how they are told what to do, and how they answer.

The first argument is a JSON object, the assignment; the last line of standard output is a
JSON object, the answer: the file that `import metaflow` found (none where Metaflow is not
used) and the findings, each with the names of its columns in data/results.tsv.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Finding = dict[str, Any]

# Whether this process is of arm `floor`: Python by hand instead of Metaflow.
FLOOR = os.environ.get("WITH") == "python"


def finding(
    workload: str, payload: str, metric: str, value: float, unit: str = "s", bytes: int = 0
) -> Finding:
    return {
        "workload": workload,
        "payload": payload,
        "metric": metric,
        "bytes": bytes,
        "unit": unit,
        "value": value,
    }


def in_fork(function: Callable[[], list[Finding]]) -> list[Finding]:
    """Call `function` in a fork of this process and return what it returned.

    What the fork does with its memory stays there. Exits if the fork failed: it has said why.
    """
    sys.stdout.flush()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with os.fdopen(write, "w") as pipe:
                json.dump(function(), pipe)
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)  # the parent's exit handlers are not ours to run
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
    found: list[Finding] = json.loads(answer)
    return found


def run(work: Callable[[dict[str, Any]], list[Finding]]) -> None:
    """Do the assignment of the command line, and answer."""
    findings = work(json.loads(sys.argv[1]))
    metaflow = sys.modules.get("metaflow")
    print(json.dumps({"metaflow": getattr(metaflow, "__file__", None), "findings": findings}))
