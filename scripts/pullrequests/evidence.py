"""The measurements that speak for a topic: its rows of data/results.tsv, as one table."""

from dataclasses import dataclass

from patchstack.project import Project
from patchstack.series import Series, Topic


@dataclass(frozen=True)
class Evidence:
    """A Markdown table of results, and why there is none or not all of them, a line each."""

    table: str
    findings: tuple[str, ...]


def read_evidence(project: Project, series: Series, topic: Topic) -> Evidence:
    """The rows whose series and benchmark code are those of today; others are named."""
    file = project.root / "data" / "results.tsv"
    if not file.is_file():
        return Evidence("", (f"no {project.show(file)}",))
    raise NotImplementedError(series, topic)
