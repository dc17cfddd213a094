"""What the join of the sweep runs, as bench/cell.py: all cells' rows as one, and a picture."""

import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.plots import draw_machines
from bench.results import HEADER, Row, load_rows, merge_rows
from bench.statistics import Contrast, Environment, compare_arms, environment, select


def join_rows(files: Iterable[Path], joined: Path) -> dict[str, str]:
    """Rows of several result files, each once, as the text of one; and their ratios by machine."""
    joined.write_text(HEADER, encoding="utf-8")
    merge_rows(joined, [row for file in files for row in load_rows(file)])
    picture = draw_machines(compare_machines(load_rows(joined)))
    return {"rows": joined.read_text(encoding="utf-8"), "picture": (picture or b"").decode()}


def compare_machines(rows: Sequence[Row]) -> dict[Environment, list[Contrast]]:
    """Contrasts by environment: nothing is compared across machines or Pythons."""
    ordered = sorted(rows, key=environment)
    return {
        where: compare_arms(select(list(members), where).rows)
        for where, members in itertools.groupby(ordered, key=environment)
    }


def main() -> None:
    job = json.loads(sys.argv[1])
    print(json.dumps(join_rows(map(Path, job["files"]), Path(job["joined"]))))


if __name__ == "__main__":
    main()
