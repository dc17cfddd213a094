"""Read every artifact of a run, or of a task in the spin store, and print what came as JSON.

For each artifact of each step, one pair for each task: its key in the store, and a digest of
its value or the error that reading it ended in. And whether the run succeeded.
"""

import hashlib
import json
import sys

import metaflow

outcomes = {}


def outcome(artifact):
    # Once for each key: the client fetches one artifact at a time.
    key = artifact.sha
    if key not in outcomes:
        try:
            outcomes[key] = hashlib.sha256(repr(artifact.data).encode()).hexdigest()
        except Exception as error:
            outcomes[key] = f"{type(error).__name__}: {error}"
    return outcomes[key]


metaflow.namespace(None)
pathspec = sys.argv[1]
if pathspec.count("/") == 3:
    metaflow.inspect_spin()
    tasks = [metaflow.Task(pathspec)]
    successful = tasks[0].successful
else:
    tasks = [task for step in metaflow.Run(pathspec) for task in step]
    successful = metaflow.Run(pathspec).successful
steps = {}
for task in tasks:
    artifacts = steps.setdefault(task.parent.id, {})
    for artifact in task:
        artifacts.setdefault(artifact.id, []).append([artifact.sha, outcome(artifact)])
for artifacts in steps.values():
    # Tasks of a foreach come in any order; `task.index` is an artifact that may be unreadable.
    for pairs in artifacts.values():
        pairs.sort()
print(json.dumps({"metaflow": metaflow.__file__, "steps": steps, "successful": successful}))
