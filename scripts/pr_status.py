#!/usr/bin/env python3
"""Door: what became of the issues and pull requests of every topic."""

from datetime import datetime, timezone

from rich.table import Table

import door
from patchstack.series import load_series
from pullrequests.errors import OfflineError
from pullrequests.record import Record
from pullrequests.tracking import COLUMNS, cells, refresh, rewrite_status, standings


def pr_status() -> None:
    """Ask GitHub about every topic's issue and pull request; rewrite the table of `status.md`.

    What was seen is kept in `data/pull_requests.json`, to be committed with `status.md`.
    Where GitHub cannot be asked, the last known state is shown with its age.
    """
    project = door.project()
    series = load_series(project)
    try:
        for problem in refresh(series, Record(project)):
            door.progress.print(f"note: {problem}", markup=False)
    except OfflineError as error:
        door.progress.print(f"note: last known state: {error}", markup=False)
    found = standings(project, series)
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for standing in found:
        table.add_row(*cells(standing)[:-1], _age(standing.seen.at))
    door.show(table)
    if rewrite_status(project, found):
        door.out.print("wrote status.md")


def _age(at: str) -> str:
    if not at:
        return "never"
    then = datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    minutes = int((datetime.now(timezone.utc) - then).total_seconds() // 60)
    for unit, size in (("d", 24 * 60), ("h", 60)):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit} ago"
    return f"{minutes} min ago" if minutes else "now"


if __name__ == "__main__":
    door.run(pr_status)
