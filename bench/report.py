"""The report: tables in the documents and plots, from the files in data/ alone.

Everything is made before anything is written, and what has not changed is not written: the same
rows give the same bytes. Only the lines between two markers of a document are generated.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from bench.arms import SINGLE
from bench.blocks import fill_block
from bench.dependencies import Dependency, dependency_grid, load_dependencies
from bench.import_times import IMPORTS, load_imports
from bench.newcomer import NEWCOMER, load_steps, newcomer_block
from bench.peers import peers_block
from bench.plots import IMPORTS_PLOT, JOIN_PLOT, PLOTS, draw_imports, draw_plots
from bench.proposal import proposal_blocks
from bench.results import COSTS, NONE, PATCHED, PEER_WORKLOADS, Row, load_rows
from bench.scale import SCALE, load_scale, scale_block
from bench.statistics import Contrast, Selection, compare_arms, select_newest
from bench.study import Study, load_study
from bench.tables import (
    MARKS,
    Grid,
    beside_stock,
    by_question,
    folded,
    markdown,
    marked,
    noise,
    quantity,
)
from bench.targets import (
    TARGETS,
    judge_targets,
    load_targets,
    remaining_block,
    targets_block,
    topics_block,
)
from bench.workloads import TMPFS
from compatibility.results import COMPAT, compat_block, load_cells
from resilience.results import FAULTS, faults_block, load_faults

RESULTS = Path("data", "results.tsv")
STUDY = Path("data", "study.tsv")
DEPENDENCIES = Path("data", "dependencies.tsv")
FOLDER = Path("data", "plots")
STATUS = Path("status.md")
PROPOSAL = Path("data", "sha1-proposal.md")
# The machine of the official figures: Azure's name for it, which rows from there carry.
OFFICIAL = "Standard_D2s_v5"
COMING = f"; official figures are to come from a {OFFICIAL}"
# What the front page begins with: what users wait for most, in defaults, nothing installed.
HEADLINE = {
    ("save", "model weights"): "save 8 MB of weights",
    ("load", "model weights"): "load 8 MB of weights",
    ("save", "embeddings"): "save 800 KB of embeddings",
    ("load", "embeddings"): "load 800 KB of embeddings",
    ("import", "with bytecode"): "`import metaflow`",
    ("flow", "hello"): "a flow of two steps",
    ("flow", "foreach"): "a foreach of 40 tasks",
    ("flow", "checkpoint"): "a flow that saves a model, in arrays of 8 MB",
    ("parallel_map", "64 no-ops"): "`parallel_map`, 64 tasks that do nothing",
}
GAINS = "gains.svg"
# Workloads that time what a user runs, without a payload of their own.
WHOLE = ("import", "task", "flow", "parallel_map")
# What describes a payload, and its column.
LABELS = {"entropy": "bits a byte", "gzip_ratio": "gzip", "lz4_ratio": "lz4"}
READING = (
    "An arm's column says how many times faster than stock it is, or how many times smaller, with "
    f"the 95 % interval: {MARKS}. `noise` is that floor: how far stock may be from itself; "
    "there are two where arms were measured in different rounds."
)


def write_report(root: Path, titles: Mapping[str, str]) -> dict[Path, bool]:
    """Rebuild the report of the project at `root`, whose topics have these titles by name.

    Returns all its files, and whether they were changed. Raises BenchError for data that is
    missing or foreign, and for a document without its markers; nothing is written then.
    """
    rows = load_rows(root / RESULTS)
    selection = select_newest(rows)
    contrasts = compare_arms(selection.rows)
    plots = _plots(selection, contrasts)
    files = plots | _documents(root, titles, selection, contrasts, plots)
    files |= _filled(root, {PROPOSAL: proposal_blocks(rows, selection)})
    files[FOLDER / IMPORTS_PLOT] = draw_imports(load_imports(root / IMPORTS))
    return _write(root, files)


def write_plots(root: Path) -> dict[Path, bool]:
    """Rebuild the plots alone, as `write_report` does."""
    selection = select_newest(load_rows(root / RESULTS))
    return _write(root, _plots(selection, compare_arms(selection.rows)))


# What a file must hold; None for one that must not be there.
Files = dict[Path, bytes | None]


def _write(root: Path, files: Files) -> dict[Path, bool]:
    changed = {}
    for path, content in files.items():
        file = root / path
        before = file.read_bytes() if file.exists() else None
        changed[path] = before != content
        if before == content:
            continue
        if content is None:
            file.unlink()
        else:
            file.parent.mkdir(exist_ok=True)
            partial = file.with_name(f".{file.name}.partial")
            partial.write_bytes(content)
            partial.replace(file)
    return changed


def _plots(selection: Selection, contrasts: Sequence[Contrast]) -> Files:
    plots = draw_plots(selection.rows, contrasts)
    return {FOLDER / name: plots.get(name) for name in PLOTS}


def write_compat(root: Path) -> None:
    """Rebuild the table of compatibility alone."""
    block = compat_block(load_cells(root / COMPAT))
    _write(root, _filled(root, {STATUS: {"compat": block}}))


def write_faults_table(root: Path) -> None:
    """Rebuild the table of faults alone."""
    block = faults_block(load_faults(root / FAULTS))
    _write(root, _filled(root, {STATUS: {"faults": block}}))


def write_scale_table(root: Path) -> None:
    """Rebuild the table of what scheduling costs alone."""
    _write(root, _filled(root, {STATUS: {"scale": scale_block(load_scale(root / SCALE))}}))


def _documents(
    root: Path,
    titles: Mapping[str, str],
    selection: Selection,
    contrasts: Sequence[Contrast],
    plots: Files,
) -> Files:
    drawn = [path for path, content in plots.items() if content]
    judgments = judge_targets(load_targets(root / TARGETS), selection.rows)
    blocks = {
        Path("README.md"): {
            "headline": _headline(selection.rows, contrasts, drawn),
            "topics": topics_block(titles, judgments),
            "remaining": remaining_block(judgments),
            "results": _results(contrasts, load_study(root / STUDY), drawn),
            "newcomer": newcomer_block(load_steps(root / NEWCOMER)),
        },
        STATUS: {
            "measurements": _measurements(selection, contrasts, drawn),
            "peers": peers_block(selection.rows),
            "targets": targets_block(judgments),
            "costs": _costs(contrasts),
            "dependencies": _dependencies(load_dependencies(root / DEPENDENCIES)),
            "compat": compat_block(load_cells(root / COMPAT)),
            "faults": faults_block(load_faults(root / FAULTS)),
            "scale": scale_block(load_scale(root / SCALE)),
        },
    }
    return _filled(root, blocks)


def _filled(root: Path, blocks: Mapping[Path, Mapping[str, str]]) -> Files:
    """Documents with these blocks of theirs filled."""
    files: Files = {}
    for path, contents in blocks.items():
        text = (root / path).read_bytes().decode()
        for name, content in contents.items():
            text = fill_block(text, name, content, path)
        files[path] = text.encode()
    return files


def _headline(rows: Sequence[Row], contrasts: Sequence[Contrast], plots: Sequence[Path]) -> str:
    """README.md: what is gained by the series alone, and its plot."""
    found = {
        (one.cell.workload, one.cell.payload): one
        for one in contrasts
        if (one.arm, one.cell.metric) == (PATCHED, "time") and one.cell.store in (TMPFS, NONE)
    }
    lines = tuple(
        (title, quantity(found[key].base, "s"), quantity(found[key].value, "s"), marked(found[key]))
        for key, title in HEADLINE.items()
        if key in found
    )
    table = markdown(Grid(("", "stock", "patched", "times faster, 95 % interval"), lines))
    drawn = [_image(path) for path in plots if path.name == GAINS]
    return "\n\n".join([table, _provenance(rows), *drawn])


def _image(path: Path) -> str:
    return f"![{PLOTS[path.name]}]({path.as_posix()})"


def _results(contrasts: Sequence[Contrast], study: Study, plots: Sequence[Path]) -> str:
    """README.md: the study's table measured here, whole commands, and the other plots."""
    times = [one for one in contrasts if one.cell.metric == "time" and one.arm not in SINGLE]
    packed = [one for one in times if one.cell.workload == "pack"]
    whole = [one for one in times if one.cell.workload in WHOLE]
    parts = [READING]
    if packed:
        parts += ["Pickle, hash and compress in memory:", markdown(beside_study(packed, study))]
        parts += [f"The study's columns are its own figures, from {study.source}."]
    if whole:
        parts += ["Whole commands:", markdown(beside_stock(whole))]
    parts += [_image(path) for path in plots if path.name not in (GAINS, JOIN_PLOT)]
    return "\n\n".join(parts)


def beside_study(packed: Sequence[Contrast], study: Study) -> Grid:
    """The table of `beside_stock` with the study's figures at its right."""
    ours = beside_stock(packed)
    rows = []
    for row in ours.rows:
        figure = study.figures.get(("pack", row[0]))
        theirs = ("", "", "")
        if figure:
            times = quantity(figure.gzip_seconds, "s"), quantity(figure.lz4_seconds, "s")
            theirs = *times, f"{figure.speed_up:.1f}x"
        rows.append((*row, *theirs))
    header = (*ours.header, "study: gzip", "study: lz4", "study: speed-up")
    return Grid(header, tuple(rows))


def _measurements(
    selection: Selection, contrasts: Sequence[Contrast], plots: Sequence[Path]
) -> str:
    """status.md: every ratio, what the payloads are like, and what is not shown."""
    parts = [f"{_provenance(selection.rows)} {READING}"]
    elsewhere = {COSTS, *PEER_WORKLOADS}
    others = [one for one in contrasts if one.cell.workload not in elsewhere]
    for title, members in by_question(others).items():
        parts.append(folded(title, markdown(beside_stock(members))))
    parts += [_image(path) for path in plots if path.name == JOIN_PLOT]
    labels = _labels(selection.rows)
    if labels.rows:
        parts.append(folded("payloads", markdown(labels)))
    if selection.left_out:
        parts.append(folded("not shown", "\n".join(f"- {line}" for line in selection.left_out)))
    return "\n\n".join(parts)


def _costs(contrasts: Sequence[Contrast]) -> str:
    """status.md: what a run costs beside its steps."""
    rows = tuple(
        (
            *(one.arm, one.cell.payload),
            *(quantity(one.base, one.unit), quantity(one.value, one.unit)),
            *(quantity(one.value - one.base, one.unit), marked(one), noise(one)),
        )
        for one in contrasts
        if one.cell.workload == COSTS
    )
    if not rows:
        return f'Not measured yet: make bench ARGS="--workload {COSTS}".'
    header = ("", "flow", "without", "with", "difference", "times faster", "noise")
    return markdown(Grid(header, rows, labels=2))


def _labels(rows: Sequence[Row]) -> Grid:
    """What each payload is like; ratios are compressed size to pickled size."""
    labels: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.metric in LABELS:
            labels.setdefault(row.payload, {})[row.metric] = row
    cells = []
    for payload, found in labels.items():
        size = quantity(next(iter(found.values())).bytes, "B")
        cells.append((payload, size, *(_label(found.get(metric)) for metric in LABELS)))
    return Grid(("payload", "pickled", *LABELS.values()), tuple(cells))


def _label(row: Row | None) -> str:
    return quantity(row.value, row.unit) if row else ""


def _dependencies(dependencies: Sequence[Dependency]) -> str:
    """status.md: the cost of each optional package, and where the import was timed."""
    timed = dict.fromkeys(
        f"{one.processor}, Python {one.python}, {one.date}" for one in dependencies
    )
    return f"{markdown(dependency_grid(dependencies))}\n\nWheel and import on {'; '.join(timed)}."


def _provenance(rows: Sequence[Row]) -> str:
    newest = max(rows, key=attrgetter("time"))
    return (
        f"Measured up to {newest.time[:10]} on {newest.processor}, {newest.cores} cores, "
        f"{newest.memory_gb:g} GB, {newest.system}, Python {newest.python}, "
        f"Metaflow {newest.release}{'' if OFFICIAL in newest.system else COMING}."
    )
