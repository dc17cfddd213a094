"""What doors share: where the project is, its source trees, and how a failure ends.

Expected failures are one line on standard error and exit code 1; wrong usage is 2.
"""

import errno
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from bench.arms import SERIES, UPSTREAM
from bench.environments import Environments, Tree
from bench.errors import BenchError
from bench.results import NONE
from patchstack.apply import apply_series
from patchstack.errors import PatchStackError
from patchstack.export import finish_interrupted_swap
from patchstack.prefix import prefix
from patchstack.project import Project
from patchstack.series import Series, load_series
from patchstack.source import pinned_source

# A pipe has no width that a table should be cut to.
out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 1000)
progress = Console(stderr=True, soft_wrap=True, highlight=False)


def show(table: Table) -> None:
    """Print a table without the blanks that fill its last column up."""
    with out.capture() as shown:
        out.print(table)
    for line in shown.get().splitlines():
        print(line.rstrip())


def project() -> Project:
    return Project.find(Path.cwd())


def titles(project: Project) -> dict[str, str]:
    """What each topic does, by its name."""
    return {topic.name: topic.title for topic in load_series(project).topics}


def trees(project: Project, series: Series, names: Iterable[str]) -> dict[str, Tree]:
    """The source trees by these names (see bench/arms.py), made once under build/."""
    source = pinned_source(project, series.pin)
    apply_series(project, series, source)
    ends = {topic.name: n for n, topic in enumerate(series.topics, 1)}
    ends |= {UPSTREAM: 0, SERIES: len(series.topics)}
    found = {}
    for name in dict.fromkeys(names):
        progress.print(f"preparing tree {name}")
        made = prefix(project, series, source, series.topics[: ends[name]])
        found[name] = Tree(made.tree, made.wheel, made.digest or NONE)
    return found


def environments(project: Project) -> Environments:
    """Those of the arms, which every command that runs them shares."""
    return Environments(project.build / "bench" / "environments")


def finish_export(project: Project) -> None:
    """Finish an export that was killed halfway, and say so."""
    if finish_interrupted_swap(project):
        progress.print("note: finished an export that was interrupted: see git diff patches/")


def run(command: Callable[..., Any]) -> None:
    """Run one door."""
    app = typer.Typer(
        add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
    )
    app.command()(command)
    name = Path(sys.argv[0]).stem
    try:
        app()
    except (BenchError, PatchStackError) as error:
        fail(name, " ".join(str(error).splitlines()))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fail(name, f"no space left on {error.filename or 'the disk'}: free some and run again")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            fail(name, f"cannot write {error.filename}: {error.strerror}: check its permissions")
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            fail(name, f"{error.filename} is in the way: {error.strerror}: move it and run again")
        raise


def fail(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr)
    sys.exit(1)
