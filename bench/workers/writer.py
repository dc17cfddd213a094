"""Save a payload for a process of another tree to load: its store, and that of the warm-up."""

from functools import partial
from typing import Any

from artifacts import WARM_UP, Task, make_artifacts, save_and_finish
from payloads import PAYLOADS
from work import Finding, run


def work(assignment: dict[str, Any]) -> list[Finding]:
    artifacts = make_artifacts(PAYLOADS[assignment["payload"]])
    new_task = partial(Task, assignment["root"])
    save_and_finish(new_task, {assignment["warm"]: WARM_UP, assignment["full"]: artifacts})
    return []


if __name__ == "__main__":
    run(work)
