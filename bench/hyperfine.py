"""hyperfine, typed: whole commands are timed by the tool that the field uses for that."""

import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.environments import last_line
from bench.errors import BenchError


def find_hyperfine() -> Path:
    """The binary of our own environment: uv.lock pins it, and with it the format it writes."""
    binary = Path(sys.executable).with_name("hyperfine")
    if not binary.is_file():
        raise BenchError("hyperfine is missing: run `uv sync`, which brings it, and try again")
    return binary


def time_command(
    command: Sequence[str],
    *,
    warm_up: int,
    runs: int,
    cwd: Path,
    env: Mapping[str, str],
    prepare: Sequence[str] = (),
) -> float:
    """Median seconds of `runs` runs of a command after `warm_up`, without a shell.

    `prepare` runs, untimed, before each of them. Raises BenchError if the command fails.
    """
    out = cwd / "hyperfine.json"
    call = [str(find_hyperfine()), "--shell=none", "--style=none", "--export-json", str(out)]
    call += ["--warmup", str(warm_up), "--runs", str(runs), "--output=inherit"]
    if prepare:
        call += ["--prepare", shlex.join(prepare)]
    # hyperfine splits a command as a shell would.
    call.append(shlex.join(command))
    done = subprocess.run(call, cwd=cwd, env=dict(env), capture_output=True, text=True)
    if done.returncode:
        # The last words of the command; after them, hyperfine's about its exit code.
        said, _, _ = done.stderr.rpartition("Error: ")
        raise BenchError(f"{shlex.join(command)}: {last_line(said or done.stderr)}")
    (result,) = json.loads(out.read_text())["results"]
    times = [float(one["time_wall_clock"]["value"]) for one in result["measurements"]]
    return statistics.median(times)
