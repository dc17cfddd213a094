"""A task that is not run: its files, copied from a real one. See scale_flow.py.

Started as often as there are tasks, so it imports what it must and nothing else.
"""

import itertools
import os
import sys
import time

FILES = ("0.data.json", "0.attempt.json", "0.DONE.lock")
STACK = '"_foreach_stack": "'


def main() -> None:
    template, *command = sys.argv[1:]
    option = dict(itertools.pairwise(command))
    # Of <store>/<flow>/<run>/<step>/<task>, the run and the task are this one's.
    root = os.path.dirname(os.path.dirname(os.path.dirname(template)))  # noqa: PTH120
    folder = f"{root}/{option['--run-id']}/measure/{option['--task-id']}"
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    with open(f"{template}/stacks") as file:  # noqa: PTH123
        stack = file.read().split("\n")[int(option["--split-index"])]
    for name in FILES:
        with open(f"{template}/{name}") as file:  # noqa: PTH123
            content = file.read()
        if name == "0.data.json":
            before, _, after = content.partition(STACK)
            content = before + STACK + stack + after[len(stack) :]
        elif name == "0.attempt.json":
            content = f'{{"time": {time.time()}}}'
        with open(f"{folder}/{name}", "w") as file:  # noqa: PTH123
            file.write(content)


if __name__ == "__main__":
    main()
