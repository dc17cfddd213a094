"""The measurements that speak for a topic: its rows of data/results.tsv, as tables.

A row speaks for the topic as it is today if it is of an arm of the topic's own, and the patches
that it measured, the code that measured it and the release are today's. What only older rows
answer is named, and refused.
"""

from dataclasses import dataclass

from bench.arms import ARMS, CONTROLS
from bench.errors import BenchError
from bench.results import Row, load_rows
from bench.session import code_hash
from patchstack.prefix import digest_patches
from patchstack.project import Project
from patchstack.series import Series, Topic


@dataclass(frozen=True)
class Evidence:
    """Results in Markdown, and what is missing or stale, a line each."""

    tables: str
    findings: tuple[str, ...]
    remedy: str


def read_evidence(project: Project, series: Series, topic: Topic) -> Evidence:
    """What was measured of the topic, as far as it is fresh."""
    arms = {arm.name for arm in ARMS if arm.tree == topic.name}
    if not arms:
        what = f"no arm measures {topic.name}"
        return Evidence("", (what,), "add one to bench/arms.py and run make bench")
    asked = " ".join(f"--arm {arm}" for arm in sorted(arms))
    remedy = f'run make bench ARGS="{asked}"'
    try:
        rows = load_rows(project.root / "data" / "results.tsv")
        patches, code = hash_series(series, topic), code_hash()
        today = [row for row in rows if (row.bench, row.release) == (code, series.pin.release)]
        own = [row for row in rows if row.arm in arms]
        fresh = [row for row in today if row.arm in arms and row.series == patches]
        findings = _stale(own, fresh, f"series {patches}, benchmark {code}")
        if not fresh:
            what = f"no results of series {patches} by benchmark {code}"
            return Evidence("", (*findings, what), remedy)
        controls = [row for row in today if row.arm in CONTROLS]
        parts = [_contents(series, topic), _tables([*controls, *fresh])]
        return Evidence("\n\n".join(filter(None, parts)), findings, remedy)
    except BenchError as error:
        return Evidence("", (str(error),), remedy)


def hash_series(series: Series, topic: Topic) -> str | None:
    """What rows call the series up to and including a topic."""
    return digest_patches(series, series.topics[: series.topics.index(topic) + 1])


def _contents(series: Series, topic: Topic) -> str:
    """What else was measured with the topic, which its pull request does not hold."""
    earlier = series.topics[: series.topics.index(topic)]
    others = [one.title for one in earlier if one not in series.closure(topic)]
    return f"What was measured holds as well: {'; '.join(others)}." if others else ""


def _stale(rows: list[Row], fresh: list[Row], today: str) -> tuple[str, ...]:
    """Questions that only older rows answer."""
    answered = {_question(row) for row in fresh}
    old = {
        f"stale: {row.workload} by {row.arm}: series {row.series}, benchmark {row.bench}; "
        f"today {today}"
        for row in rows
        if _question(row) not in answered
    }
    return tuple(sorted(old))


def _question(row: Row) -> tuple[str, ...]:
    return row.workload, row.payload, row.store, row.arm


def _tables(rows: list[Row]) -> str:
    """One for each question, of the newest machine among `rows`."""
    # These import scipy, which takes longer than all the rest where there is nothing to show.
    from bench.statistics import compare_arms, select_newest
    from bench.tables import MARKS, beside_stock, by_question, markdown

    selection = select_newest(rows)
    parts = [f"{selection.environment}. {MARKS}."]
    for question, contrasts in by_question(compare_arms(selection.rows)).items():
        ours = [one for one in contrasts if one.arm not in CONTROLS]
        if ours:
            table = markdown(beside_stock(ours))
            parts.append(f"<details>\n<summary>{question}</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(parts)
