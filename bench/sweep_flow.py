"""The sweep as a Metaflow flow: one task for each cell. `make sweep` runs it; see bench/sweep.py.

A task needs Python >= 3.10, this file, and what the archive holds: the wheels of the arms and the
code that measures, with its lock file. It checks the archive's hash and lets uv, which pip brings,
make the bench's own environment from the package index, with the cell's Python. So any image with
a Python and pip will do, and none of our wheels needs an index.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64encode
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

# The folder of this file has a statistics.py, which is not the standard library's.
sys.path[:] = [one for one in sys.path if Path(one).resolve() != Path(__file__).resolve().parent]

from metaflow.cards import Image, Markdown  # noqa: E402

from metaflow import (  # noqa: E402
    Flow,
    FlowSpec,
    IncludeFile,
    Parameter,
    card,
    catch,
    current,
    namespace,
    retry,
    step,
    timeout,
)

# What the tasks of this flow run with must not decide what is measured.
DROPPED = ("PYTHON", "VIRTUAL_ENV", "UV_PROJECT")


class Lost(Exception):
    """The process of the bench was killed: another attempt may be luckier."""


class Failed(Exception):
    """The process of the bench says why it ended: another attempt would say the same."""


class SweepFlow(FlowSpec):
    """Measure cells of the sweep on machines of one type."""

    # Deployments to Argo Workflows and Step Functions take a file by its default only.
    archive = IncludeFile(
        "archive",
        is_text=False,
        default=os.environ.get("SWEEP_ARCHIVE"),
        help="What the tasks need, as `make sweep` packs it.",
    )
    sha256 = Parameter("sha256", default=os.environ.get("SWEEP_SHA256", ""), help="Of the archive.")
    machine = Parameter(
        "machine", default=os.environ.get("SWEEP_MACHINE", ""), help="Type whose cells to measure."
    )
    folder = Parameter(
        "folder", default="", help="Where tasks keep their environments; by default they do not."
    )

    @retry(times=1, minutes_between_retries=0)
    @step
    def start(self) -> None:
        check(self.archive, self.sha256)
        with tarfile.open(fileobj=io.BytesIO(self.archive)) as files:
            manifest = json.load(files.extractfile("manifest.json"))  # type: ignore[arg-type]
        self.cells = [one for one in manifest["cells"] if one["machine"] == self.machine]
        self.next(self.measure, foreach="cells")

    # A lost task is tried once more, and then costs its cell alone.
    @catch(var="lost", print_exception=False)
    @retry(times=1, minutes_between_retries=0)
    @timeout(hours=6)
    @step
    def measure(self) -> None:
        place = f"cell {self.index + 1} of {len(self.cells)}"
        print(f"{place}: {title(self.input)}", file=sys.stderr, flush=True)
        with Home(self.archive, self.sha256, self.folder) as home:
            try:
                self.found = home.measure(self.input)
            except Failed as error:
                self.found = unmeasured("failed", error)
        became = [self.found[one] for one in ("outcome", "reason") if self.found[one]]
        print(place, *became, sep=": ", file=sys.stderr)
        self.next(self.join)

    @card(type="blank")
    @retry(times=1, minutes_between_retries=0)
    @step
    def join(self, inputs: Any) -> None:
        inputs = list(inputs)
        cells = inputs[0].cells
        self.outcomes, texts = [], other_rows(inputs[0].sha256)
        for one in inputs:
            found = one.found if one.lost is None else unmeasured("lost", one.lost)
            if found["rows"]:
                texts.append(found["rows"])
            self.outcomes.append(outcome(cells[one.index], found, inputs[0].sha256))
        with Home(inputs[0].archive, inputs[0].sha256, inputs[0].folder) as home:
            joined = home.join(texts)
        self.rows = joined["rows"]
        show(joined["picture"], self.outcomes)
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


def check(archive: bytes, sha256: str) -> None:
    found = hashlib.sha256(archive).hexdigest()
    if found != sha256:
        raise ValueError(f"the archive arrived with sha256 {found} instead of {sha256}")


class Home:
    """The unpacked archive, and what is made from it: kept in `folder`, if one is named."""

    def __init__(self, archive: bytes, sha256: str, folder: str) -> None:
        check(archive, sha256)
        self.sha256, self.kept = sha256, bool(folder)
        self.folder = Path(folder or tempfile.mkdtemp(prefix="sweep-"))
        self.files = self.folder / "archives" / sha256[:12]
        if not self.files.is_dir():
            self.files.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=self.files.parent))
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(partial)
            try:
                partial.rename(self.files)
            except OSError:  # another task was first
                shutil.rmtree(partial)

    def __enter__(self) -> "Home":
        return self

    def __exit__(self, *_: object) -> None:
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def measure(self, cell: dict[str, Any]) -> dict[str, Any]:
        """What bench/cell.py says of a cell."""
        name = hashlib.sha256(json.dumps([self.sha256, cell]).encode()).hexdigest()[:12]
        job = {
            "cell": cell,
            "folder": str(self._made("cells") / name),
            "environments": str(self.folder / "environments"),
        }
        return self._run(cell["python"], "bench.cell", job)

    def join(self, texts: list[str]) -> dict[str, Any]:
        """What bench/join.py makes of the rows of several cells."""
        with tempfile.TemporaryDirectory(dir=self._made("joins")) as folder:
            files = [Path(folder, f"{number}.tsv") for number in range(len(texts))]
            for file, text in zip(files, texts, strict=True):
                file.write_text(text, encoding="utf-8")
            job = {"files": list(map(str, files)), "joined": str(Path(folder, "joined.tsv"))}
            return self._run(f"{sys.version_info[0]}.{sys.version_info[1]}", "bench.join", job)

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def _run(self, python: str, module: str, job: dict[str, Any]) -> dict[str, Any]:
        """A module of the archive's bench under this Python; its answer."""
        environment = self.folder / f"python-{python}"
        env = {k: v for k, v in os.environ.items() if not k.startswith(DROPPED)}
        sync = [self._uv(), "sync", "--quiet", "--locked", "--no-dev", "--no-install-project"]
        self._call([*sync, "--python", python], env | {"UV_PROJECT_ENVIRONMENT": str(environment)})
        command = [str(environment / "bin" / "python"), "-m", module, json.dumps(job)]
        found: dict[str, Any] = json.loads(self._call(command, env).splitlines()[-1])
        return found

    def _call(self, command: list[str], env: dict[str, str]) -> str:
        """What a command prints, while the task's log shows what it says."""
        # The answer goes to a file: a pipe that nobody reads is full after 64 KB.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
            with subprocess.Popen(
                command, cwd=self.files, env=env, stdout=out, stderr=subprocess.PIPE, text=True
            ) as process:
                said = []
                for line in process.stderr or ():
                    print(line, end="", file=sys.stderr, flush=True)
                    said.append(line.strip())
            out.seek(0)
            answer = out.read()
        if process.returncode < 0:
            raise Lost(f"the process that measured ended by signal {-process.returncode}")
        if process.returncode:
            raise Failed(reason(said) or f"exit code {process.returncode}")
        return answer

    def _uv(self) -> str:
        """The version that the lock file was made for: that of the project, or from the index."""
        if "SWEEP_UV" in os.environ:
            return os.environ["SWEEP_UV"]
        target = self.folder / "uv"
        if not (target / "bin" / "uv").exists():
            version = json.loads((self.files / "manifest.json").read_text())["uv"]
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
            subprocess.run([*install, f"uv=={version}"], check=True)
        return str(target / "bin" / "uv")


def reason(said: list[str]) -> str:
    """From the last line that says error on; else the last line."""
    lines = [line for line in said if line]
    begin = max((n for n, line in enumerate(lines) if line.startswith("error")), default=-1)
    return " ".join(lines[begin:])


def unmeasured(kind: str, error: object) -> dict[str, Any]:
    # Of an exception that @catch holds, the last line is what is not traceback.
    why = str(error).strip().splitlines()[-1]
    if len(why) > 1000:  # its beginning says what failed, its end why
        why = f"{why[:500]} ... {why[-500:]}"
    time = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"outcome": kind, "reason": why, "time": time, "fingerprint": "-", "rows": ""}


def title(cell: dict[str, Any]) -> str:
    """A cell, or its outcome, in a line."""
    names = [cell[one] for one in ("arm", "workload", "payload", "store")]
    return ", ".join([one for one in names if one not in ("", "-")] + [f"Python {cell['python']}"])


def outcome(cell: dict[str, Any], found: dict[str, Any], sha256: str) -> dict[str, Any]:
    """A line of data/sweep.tsv."""
    rows = max(0, found["rows"].count("\n") - 1)
    return {**cell, **found, "python": cell["python"], "rows": rows} | {
        "sweep": sha256[:12],
        "run": current.run_id,
        "store": cell["store"] or "-",
    }


def other_rows(sha256: str) -> list[str]:
    """Those of this sweep's runs on other machine types, for the picture."""
    namespace(None)
    runs = Flow(current.flow_name).runs(f"sweep:{sha256[:12]}")
    return [run["join"].task.data.rows for run in runs if run.successful]


def show(picture: str, outcomes: list[dict[str, Any]]) -> None:
    """The card."""
    measured = sum(one["outcome"] == "measured" for one in outcomes)
    current.card.append(Markdown(f"## {measured} of {len(outcomes)} cells measured"))
    if picture:
        source = b64encode(picture.encode()).decode()
        current.card.append(Image(f"data:image/svg+xml;base64,{source}"))
    for one in outcomes:
        if one["outcome"] != "measured":
            current.card.append(Markdown(f"- {title(one)}: {one['outcome']}: {one['reason']}"))


if __name__ == "__main__":
    SweepFlow()
