"""data/newcomer.tsv: how long the first commands of README.md take whoever clones the project.

They are read from the page, and run as printed, in a fresh clone of the current commit, with a
home that is empty: no cache of uv's or pip's, no configuration. Only the network's speed is the
machine's own. The columns are the fields of `Step`, in order.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from bench.errors import BenchError
from bench.machine import this_machine
from bench.records import load_records
from bench.tables import quantity

NEWCOMER = Path("data", "newcomer.tsv")
PAGE = Path("README.md")
HEADING = "Two commands"
# What a newcomer's shell has: certificates, the way to the network, and programs (`_own_path`).
KEPT = ("LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy")


@dataclass(frozen=True)
class Step:
    commit: str  # of this project
    processor: str
    cores: int
    system: str
    command: str
    seconds: float


def load_steps(path: Path) -> list[Step]:
    """Raises BenchError for a file that is missing or foreign."""
    return load_records(path, Step, "make it with make newcomer")


def code_blocks(page: str) -> dict[str, list[str]]:
    """The fenced blocks of a Markdown document, by the heading that they stand under."""
    found: dict[str, list[str]] = {}
    heading, tokens = "", MarkdownIt().parse(page)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before is not None and before.type == "heading_open":
            heading = token.content
        elif token.type == "fence":
            found.setdefault(heading, []).append(token.content)
    return found


def commands(block: str) -> list[str]:
    """The lines of a block that are commands, without their comments."""
    lines = (line.partition(" #")[0].strip() for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def follow_page(root: Path, say: Callable[[str], None]) -> Iterator[Step]:
    """Clone the project, and run what stands under `HEADING`.

    `say` is told a command before it runs, a step is yielded when it has.

    Raises BenchError if a command fails, with the last line that it said.
    """
    machine = this_machine()
    head = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        clone, home = Path(folder, "metaflow-perf"), Path(folder, "home")
        home.mkdir()
        env = {name: os.environ[name] for name in KEPT if name in os.environ}
        env |= {"HOME": str(home), "PATH": _own_path(root)}
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
        (block,) = code_blocks((clone / PAGE).read_text(encoding="utf-8"))[HEADING]
        for command in commands(block):
            say(command)
            begin = time.monotonic()
            done = subprocess.run(
                ["sh", "-c", command], cwd=clone, env=env, capture_output=True, text=True
            )
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines() or ["nothing was said"]
                raise BenchError(f"{command} failed in a fresh clone of {commit}: {said[-1]}")
            seconds = round(time.monotonic() - begin, 1)
            yield Step(commit, machine.processor, machine.cores, machine.system, command, seconds)


def _own_path(root: Path) -> str:
    """PATH without this project's own environment, which has uv."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(one for one in folders if not Path(one).is_relative_to(root))


def newcomer_block(steps: Sequence[Step]) -> str:
    """README.md: a sentence."""
    first = steps[0]
    took = ", ".join(f"`{step.command}` {quantity(step.seconds, 's')}" for step in steps)
    return (
        f"In a fresh clone with an empty home, downloads included: {took} "
        f"({first.processor}, {first.cores} cores, {first.system}, commit {first.commit})."
    )
