"""What all doors share: where the project is, and how a failure ends.

Expected failures are one line on standard error and exit code 1; wrong usage is 2.
"""

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from bench.errors import BenchError
from patchstack.errors import PatchStackError
from patchstack.project import Project

out = Console(soft_wrap=True, highlight=False)
progress = Console(stderr=True, soft_wrap=True, highlight=False)


def project() -> Project:
    return Project.find(Path.cwd())


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
        fail(name, " ".join(str(error).split()))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fail(name, f"no space left on {error.filename or 'the disk'}: free some and run again")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            fail(name, f"cannot write {error.filename}: {error.strerror}: check its permissions")
        raise


def fail(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr)
    sys.exit(1)
