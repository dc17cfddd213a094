"""The series on another release: a verdict for every patch, not only for the first failure.

Patches are tried in the order of the series, each on the release plus all earlier ones
that found their place. A patch that conflicts still gets those of its hunks in that fit,
so that what comes after it is judged on the nearest tree there is.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum

from patchstack.apply import apply_series
from patchstack.errors import ConflictError, SourceError
from patchstack.export import swap_series
from patchstack.git import Repo, scratch
from patchstack.held import HeldPatches, hold
from patchstack.patch import Patch
from patchstack.project import Project
from patchstack.series import RELEASE, Pin, Series, Topic
from patchstack.source import (
    Kind,
    Source,
    release_source,
    sdist_path,
    sdist_source,
    sha256_of,
)
from patchstack.stack import (
    AM,
    Builder,
    Reject,
    try_patch,
    write_patch,
)

# A patch counts as landed but modified when at least this share of what it adds is new in
# the release too. Half: a rewrite in review keeps most lines, an unrelated change keeps
# none of those that are long enough to be telling.
LANDED_SHARE = 0.5
# Shorter lines ("try:", "return x") stand in every file.
TELLING_LENGTH = 12


class Outcome(str, Enum):
    CLEAN = "clean"
    OFFSET = "applies with offset"
    CONFLICTS = "conflicts"
    LANDED = "already landed"
    LANDED_MODIFIED = "landed but modified"
    LEFT_OUT = "not in the sdist"


# What needs no decision by hand.
SETTLED = (Outcome.CLEAN, Outcome.OFFSET, Outcome.LANDED, Outcome.LEFT_OUT)


@dataclass(frozen=True)
class PatchVerdict:
    """How one patch fares on a release."""

    topic: str
    patch: str
    outcome: Outcome
    rejects: tuple[Reject, ...] = ()
    # Paths that it changes and the sdist does not have: they were not tried.
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReleaseReport:
    """How the whole series fares on a release, or why that cannot be told."""

    release: str
    source: Source | None
    verdicts: tuple[PatchVerdict, ...]
    problem: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing that was tried needs a decision by hand."""
        return not self.problem and all(one.outcome in SETTLED for one in self.verdicts)


def try_release(project: Project, series: Series, pinned: Source, release: str) -> ReleaseReport:
    """Try the series on a release; changes nothing but what build/ holds."""
    with project.exclusive():
        if not re.fullmatch(RELEASE, release):
            return ReleaseReport(release, None, (), "no release: give a number like 2.19.39")
        try:
            source = release_source(project, release)
        except SourceError as error:
            return ReleaseReport(release, None, (), str(error))
        held = hold(series, source)
        verdicts = []
        with scratch(project, source.repo, keep_objects=False) as repo:
            repo.git("checkout", "--quiet", "--detach", source.base)
            for topic in series.topics:
                for patch in series.patches[topic.name]:
                    one = _try(repo, pinned, source, topic, patch, held[topic.name])
                    missing = set(held[topic.name].left_out) & patch.sections.keys()
                    verdicts.append(replace(one, left_out=tuple(sorted(missing))))
        return ReleaseReport(release, source, tuple(verdicts))


def _try(
    repo: Repo, pinned: Source, source: Source, topic: Topic, patch: Patch, held: HeldPatches
) -> PatchVerdict:
    """The verdict on one patch; leaves its commit, or the hunks that fit, on top of `repo`."""
    if patch not in held.applied:
        return PatchVerdict(topic.name, patch.name, Outcome.LEFT_OUT)
    excluded = [f"--exclude={path}" for path in held.left_out]
    file = str(write_patch(repo, patch))
    trial = try_patch(repo, patch, held.left_out)
    undone = repo.run("apply", "--check", "--verbose", "--reverse", *excluded, file)
    landed = undone.returncode == 0 and b"(offset " not in undone.stderr
    # Landed code may have a twin elsewhere in the file that the patch would fit as well.
    if not trial.rejects and not (trial.offset and landed):
        repo.git(*AM, *excluded, file)
        outcome = Outcome.OFFSET if trial.offset else Outcome.CLEAN
        return PatchVerdict(topic.name, patch.name, outcome)
    if undone.returncode == 0:
        return PatchVerdict(topic.name, patch.name, Outcome.LANDED)
    if _landed_share(source, pinned, patch) >= LANDED_SHARE:
        return PatchVerdict(topic.name, patch.name, Outcome.LANDED_MODIFIED, trial.rejects)
    repo.run("apply", "--reject", "--whitespace=nowarn", *excluded, file)
    repo.git("add", "--all", "--", ".", ":(exclude,glob)**/*.rej")
    author = ("-c", "user.name=metaflow-perf", "-c", "user.email=metaflow-perf@localhost")
    repo.git(*author, "commit", "--quiet", "--allow-empty", "--message", f"part of {patch.name}")
    repo.git("clean", "--quiet", "--force", "-d", "-x")
    return PatchVerdict(topic.name, patch.name, Outcome.CONFLICTS, trial.rejects)


def _landed_share(source: Source, pinned: Source, patch: Patch) -> float:
    """The share of the patch's telling lines, new to the pin, that the release has too."""
    added, there = 0, 0
    for file in patch.diff:
        at_pin = _telling_lines(pinned.file(file.path) or b"")
        # Not the tree that the patch was tried on: that has the series' own earlier patches.
        at_release = _telling_lines(source.file(file.path) or b"")
        text = "\n".join(line.value for hunk in file for line in hunk if line.is_added)
        new = _telling_lines(text.encode(errors="surrogateescape")) - at_pin
        added += new.total()
        there += (new & (at_release - at_pin)).total()
    return there / added if added else 0.0


def _telling_lines(content: bytes) -> Counter[bytes]:
    lines = (line.strip() for line in content.splitlines())
    return Counter(line for line in lines if len(line) >= TELLING_LENGTH)


def move_pin(
    project: Project, series: Series, pinned: Source, report: ReleaseReport, commit: str | None
) -> Pin:
    """Move the pin to the release of `report` and drop the patches that have landed there.

    `commit` is the release's commit where only its sdist is at hand, which does not name
    it. Raises `ConflictError` if a patch neither applies nor has landed unchanged.
    """
    stuck = [f"{one.topic}/{one.patch}" for one in report.verdicts if one.outcome not in SETTLED]
    if stuck:
        raise ConflictError(f"the pin stays at {series.pin.release}: mend {', '.join(stuck)} first")
    if report.source is None:
        raise SourceError(f"{report.release}: {report.problem}")
    untried = sorted({path for one in report.verdicts for path in one.left_out})
    if untried:
        raise ConflictError(
            f"the pin stays at {series.pin.release}: the sdist has no {', '.join(untried)} to try "
            "the patches on: initialize the submodule first"
        )
    apply_series(project, series, pinned)  # refuses where a branch holds work that no patch does
    source = report.source
    pin = _new_pin(project, series.pin, source, commit)
    landed = {(one.topic, one.patch) for one in report.verdicts if one.outcome is Outcome.LANDED}
    left = _without(series, landed)
    with project.exclusive(), scratch(project, source.repo, keep_objects=False) as repo:
        builder = Builder(repo, source, left)
        patches = {topic.name: builder.canonical(topic) for topic in left.topics}
        builder.integration()
        if (project.root / ".git").exists():  # an unpacked archive of the project has no gitlink
            entry = f"160000,{pin.commit},metaflow"
            # First: it may fail, if another git is at work, and then nothing has moved.
            Repo(project.root).git("update-index", "--add", "--cacheinfo", entry)
        swap_series(project, series, left.topics, patches, pin)
    return pin


def _new_pin(project: Project, old: Pin, source: Source, commit: str | None) -> Pin:
    archive = sdist_path(project, source.release)
    if source.kind is Kind.SUBMODULE:
        commit = source.base
    if commit is None:
        raise SourceError(
            f"an sdist does not say which commit it was made from: name the one of release "
            f"{source.release} with --commit"
        )
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise SourceError(f"--commit {commit}: give all 40 hexadecimal digits of the commit")
    if not archive.is_file():
        sdist_source(project, source.release, None)
    new = {"release": source.release, "commit": commit, "sdist_sha256": sha256_of(archive)}
    return Pin.model_validate(old.model_dump() | new)


def _without(series: Series, landed: set[tuple[str, str]]) -> Series:
    """The series without the landed patches, and without topics that have none left."""
    patches = {
        name: kept
        for name, own in series.patches.items()
        if (kept := tuple(patch for patch in own if (name, patch.name) not in landed))
    }
    topics = tuple(
        topic.model_copy(
            update={"depends_on": tuple(name for name in topic.depends_on if name in patches)}
        )
        for topic in series.topics
        if topic.name in patches
    )
    return replace(series, topics=topics, patches=patches)
