"""Generated blocks in documents that are otherwise written by hand."""

from pathlib import Path

from bench.errors import BenchError


def fill_block(text: str, name: str, content: str, path: Path) -> str:
    """`text` with `content` between the marker lines of block `name`.

    Raises BenchError, which names `path`, unless both markers are there once and in order.
    """
    start, end = f"<!-- START {name} -->", f"<!-- END {name} -->"
    lines = text.split("\n")
    if lines.count(start) != 1 or lines.count(end) != 1 or lines.index(end) < lines.index(start):
        raise BenchError(
            f"{path} must have the line {start} once, and {end} below it: "
            "put them where the generated block belongs"
        )
    first, last = lines.index(start), lines.index(end)
    return "\n".join([*lines[: first + 1], content, *lines[last:]])
