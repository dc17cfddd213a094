"""The series as branches: one for each topic on the pin, one for the whole series.

Apply builds every branch in a scratch and then moves refs, all in one transaction. It
never touches a work tree, so there is nothing a kill can leave half done and nothing of
the contributor's it can overwrite. What apply last did is recorded under
refs/patchstack/, in the same transaction: a branch that still is where apply put it may
move; one that is elsewhere carries somebody's commits, and moves only if patches hold
every one of them.
"""

import hashlib
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from patchstack.errors import UnsavedWorkError
from patchstack.git import Repo, scratch
from patchstack.patch import Patch
from patchstack.project import Project
from patchstack.series import Series, Topic
from patchstack.source import Source
from patchstack.stack import Builder, format_patches, holds

RECORD = "refs/patchstack/tip/"
START = "refs/patchstack/start/"
DIGEST = "refs/patchstack/series"
# Of every topic, the patches that its branch was last in step with, by apply or by export.
IN_STEP = "refs/patchstack/in-step"
NONE = "0" * 40


class Verdict(str, Enum):
    UP_TO_DATE = "up to date"
    MISSING = "missing"
    DIFFERS = "differs"
    STALE = "no longer in the series"


@dataclass(frozen=True)
class BranchState:
    """A branch as it is against what the series makes of it."""

    branch: str
    old: str | None
    start: str
    new: str
    verdict: Verdict
    # Paths that the sdist does not have, left out of this branch.
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """All branches of a source against the series."""

    source: Source
    states: tuple[BranchState, ...]

    @property
    def same(self) -> bool:
        return all(state.verdict is Verdict.UP_TO_DATE for state in self.states)


@dataclass(frozen=True)
class Refs:
    """Where branches are, and where apply last put them."""

    heads: dict[str, str]
    records: dict[str, str]
    starts: dict[str, str]
    digest: str
    # Topic -> hash of its patches.
    in_step: dict[str, str]

    @classmethod
    def read(cls, repo: Repo) -> "Refs":
        heads: dict[str, str] = {}
        records: dict[str, str] = {}
        starts: dict[str, str] = {}
        for line in repo.lines("for-each-ref", "--format=%(objectname) %(refname)"):
            sha, name = line.split(" ", 1)
            for prefix, group in (("refs/heads/", heads), (RECORD, records), (START, starts)):
                if name.startswith(prefix):
                    group[name.removeprefix(prefix)] = sha
        digest, in_step = (
            repo.run("cat-file", "blob", name).stdout.decode() for name in (DIGEST, IN_STEP)
        )
        pairs = [line.split(" ") for line in in_step.splitlines()]
        return cls(heads, records, starts, digest.strip(), dict(pairs))

    def out_of_step(self, series: Series) -> list[str]:
        """Topics whose patches have changed since their branches were made or exported."""
        return [
            topic.name
            for topic in series.topics
            if self.in_step.get(topic.name, "") not in ("", _hash(series, topic))
        ]


def check_applied(project: Project, series: Series, source: Source) -> Comparison:
    """Compare branches and series; changes nothing.

    Raises `UnsavedWorkError` where a work tree holds what is on no branch yet.
    """
    with project.exclusive():
        _refuse_uncommitted(project, source.repo)
        return _compare(project, series, source, keep_objects=False)[0]


def apply_series(project: Project, series: Series, source: Source) -> Comparison:
    """Make the branches what the series says; returns what they were.

    Raises `UnsavedWorkError` rather than put aside uncommitted changes or commits that no
    patch holds, and `ConflictError` where a patch does not fit; both leave all as it was.
    """
    with project.exclusive():
        _refuse_uncommitted(project, source.repo)
        comparison, refs, lost = _compare(project, series, source, keep_objects=True)
        for state in comparison.states:
            if state.branch in lost:
                for name in refs.out_of_step(series):
                    if state.branch in (series.topic(name).branch, series.integration.branch):
                        raise both_changed(name, state.branch)
                raise _unsaved(project, source.repo, state, lost[state.branch])
            if state.verdict is not Verdict.UP_TO_DATE:
                _refuse_checked_out(project, source.repo, state)
        updates = in_step(source.repo, refs, series, series.patches)
        _move(source.repo, refs, comparison, _digest(series, source), updates)
        return comparison


def branch_commit(series: Series, source: Source, topic: str | None) -> str:
    """The commit of a topic's branch, or of the whole series, as apply left it.

    This is what benchmarks and checks take their source trees from.
    """
    branch = series.integration.branch if topic is None else series.topic(topic).branch
    commit = source.repo.commit(f"refs/heads/{branch}")
    if commit is None:
        raise UnsavedWorkError(f"branch {branch} is not there: run make apply")
    return commit


def _digest(series: Series, source: Source) -> str:
    """What the branches are a function of."""
    parts = [source.base, source.kind.value, series.integration.branch]
    for topic in series.topics:
        parts += [topic.name, topic.branch, *topic.depends_on, _hash(series, topic)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _hash(series: Series, topic: Topic) -> str:
    """What the patches of a topic are, by name and content."""
    parts = [
        part
        for patch in series.patches[topic.name]
        for part in (patch.name, hashlib.sha256(patch.data).hexdigest())
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def in_step(repo: Repo, refs: Refs, series: Series, names: Collection[str]) -> list[str]:
    """The ref update that records that branches of these topics hold what their patches hold."""
    hashes = {topic.name: _hash(series, topic) for topic in series.topics if topic.name in names}
    if refs.in_step | hashes == refs.in_step:
        return []
    lines = "".join(f"{name} {one}\n" for name, one in (refs.in_step | hashes).items())
    blob = repo.git("hash-object", "-w", "--stdin", input=lines.encode()).decode().strip()
    return [f"update {IN_STEP} {blob}"]


def both_changed(name: str, branch: str) -> UnsavedWorkError:
    """Neither apply nor export may go over a topic that was changed on both sides."""
    return UnsavedWorkError(
        f"patches/{name} and branch {branch} have both changed since they were in step: "
        f"put the patches aside with `git stash push -- patches/{name}`, export the "
        "branch and apply, then `git stash pop` and settle the difference with git"
    )


def _compare(
    project: Project, series: Series, source: Source, *, keep_objects: bool
) -> tuple[Comparison, Refs, dict[str, list[str]]]:
    """States of all branches, the refs they were read from, and unsaved commits by branch."""
    refs = Refs.read(source.repo)
    branches = [series.integration.branch, *(topic.branch for topic in series.topics)]
    at_rest = all(
        refs.heads.get(name) == refs.records.get(name, NONE) and name in refs.starts
        for name in branches
    )
    stale = _stale(refs, branches)
    if at_rest and refs.digest == _digest(series, source):
        states = [
            BranchState(name, tip := refs.heads[name], refs.starts[name], tip, Verdict.UP_TO_DATE)
            for name in branches
        ]
        return Comparison(source, (*states, *stale)), refs, {}
    with scratch(project, source.repo, keep_objects=keep_objects) as repo:
        builder = Builder(repo, source, series)
        built: dict[str, tuple[str, str, tuple[str, ...]]] = {
            series.integration.branch: (source.base, builder.integration(), ())
        }
        for topic in series.topics:
            built[topic.branch] = (*builder.branch(topic), builder.held[topic.name].left_out)
        states, lost = [], {}
        held = [patch for one in builder.held.values() for patch in one.commits]
        for name, (start, tip, left_out) in built.items():
            old = refs.heads.get(name)
            state = _state(repo, source, name, old, start, tip, left_out)
            states.append(state)
            if state.verdict is Verdict.DIFFERS and old and old != refs.records.get(name):
                commits = _not_held(repo, source, refs.records.get(name), old, held)
                if commits:
                    lost[name] = commits
    return Comparison(source, (*states, *stale)), refs, lost


def _state(
    repo: Repo,
    source: Source,
    name: str,
    old: str | None,
    start: str,
    tip: str,
    left_out: tuple[str, ...],
) -> BranchState:
    if old is None:
        return BranchState(name, None, start, tip, Verdict.MISSING, left_out)
    if old == tip:
        return BranchState(name, old, start, tip, Verdict.UP_TO_DATE, left_out)
    if history(repo, source.base, old) == history(repo, source.base, tip):
        # The same work under other commit ids: the contributor's own commits stay, and the
        # topic's part of them starts as many commits below the tip as in ours.
        own = len(repo.commits(start, tip))
        old_start = repo.text("rev-parse", f"{old}~{own}")
        return BranchState(name, old, old_start, old, Verdict.UP_TO_DATE, left_out)
    return BranchState(name, old, start, tip, Verdict.DIFFERS, left_out)


def history(repo: Repo, start: str, tip: str, *, trees: bool = True) -> bytes:
    """Trees, authors, dates and messages of a range: all of a commit that patches hold."""
    fields = f"--format={'%T' if trees else ''}%x00%an%x00%ae%x00%aI%x00%B%x00"
    return repo.git("log", "--encoding=UTF-8", "--reverse", fields, f"{start}..{tip}")


def _not_held(
    repo: Repo, source: Source, record: str | None, old: str, held: list[Patch]
) -> list[str]:
    """Commits of a branch, but for those that apply put there, that no patch holds."""
    if repo.run("merge-base", source.base, old).returncode:
        return [f"{old[:12]} (not based on upstream)"]
    ours = ("--not", source.base, *([record] if record else []))
    log = ("log", "--topo-order", "--reverse", "--format=%h %s")
    lost = repo.lines(*log, "--merges", old, *ours)
    for line in repo.lines(*log, "--no-merges", old, *ours):
        commit = line.partition(" ")[0]
        (written,) = format_patches(repo, f"{commit}~1", commit)
        if not any(holds(repo, patch, written, commit) for patch in held):
            lost.append(line)
    return lost


def _stale(refs: Refs, branches: list[str]) -> list[BranchState]:
    """Branches that apply made for topics that are gone, and that nobody has touched."""
    return [
        BranchState(name, sha, sha, NONE, Verdict.STALE)
        for name, sha in refs.records.items()
        if name not in branches and refs.heads.get(name) == sha
    ]


def worktrees(repo: Repo) -> dict[Path, str | None]:
    """Work trees of a repository and the branch each has checked out."""
    found: dict[Path, str | None] = {}
    path = None
    for line in repo.lines("worktree", "list", "--porcelain"):
        key, _, value = line.partition(" ")
        if key == "worktree":
            path = Path(value)
            if path.is_dir() and (path / ".git").exists():
                found[path] = None
        elif key == "branch" and path in found:
            found[path] = value.removeprefix("refs/heads/")
    # A submodule's own entry names its git directory, not its work tree.
    top = Path(repo.text("rev-parse", "--show-toplevel"))
    if top not in found:
        head = repo.run("symbolic-ref", "--quiet", "--short", "HEAD").stdout.decode().strip()
        found[top] = head or None
    return found


def uncommitted(path: Path) -> list[str]:
    """Changed and untracked files of a work tree, as `git status` lists them."""
    return (
        Repo(path)
        .git("-c", "core.quotePath=false", "status", "--porcelain", "--untracked-files=normal")
        .decode(errors="replace")
        .splitlines()
    )


def refuse_unfinished_rebase(project: Project, path: Path) -> None:
    """Its end would move the branch back to commits that were made before we moved it."""
    names = [arg for name in ("rebase-merge", "rebase-apply") for arg in ("--git-path", name)]
    folders = Repo(path).lines("rev-parse", "--path-format=absolute", *names)
    if any(Path(folder).is_dir() for folder in folders):
        where = shlex.quote(project.show(path))
        raise UnsavedWorkError(
            f"a rebase is not finished in {where}: end it with `git -C {where} rebase --continue`, "
            f"or drop it with `git -C {where} rebase --abort`"
        )


def _refuse_uncommitted(project: Project, repo: Repo) -> None:
    for path in worktrees(repo):
        refuse_unfinished_rebase(project, path)
        files = uncommitted(path)
        if files:
            names = ", ".join(line[3:] for line in files[:5]) + (" ..." if len(files) > 5 else "")
            where = shlex.quote(project.show(path))
            raise UnsavedWorkError(
                f"{where} has uncommitted changes ({names}): commit them to a topic's branch and "
                f"export them, or put them aside with `git -C {where} stash --include-untracked`"
            )


def _refuse_checked_out(project: Project, repo: Repo, state: BranchState) -> None:
    for path, branch in worktrees(repo).items():
        if branch == state.branch and state.old is not None:
            where = shlex.quote(project.show(path))
            raise UnsavedWorkError(
                f"branch {state.branch} has to move and is checked out in {where}: run "
                f"`git -C {where} switch --detach` and apply again"
            )


def _unsaved(
    project: Project, repo: Repo, state: BranchState, commits: list[str]
) -> UnsavedWorkError:
    where, drop = project.show(repo.path), f"branch --force {state.branch} {state.new[:12]}"
    for path, branch in worktrees(repo).items():
        if branch == state.branch:  # git does not force a branch that is checked out
            where, drop = project.show(path), f"reset --hard {state.new[:12]}"
    return UnsavedWorkError(
        f"branch {state.branch} in {where} has commits that no patch holds ({', '.join(commits)}): "
        f"keep them with `make export ARGS={state.branch}`, or drop them with "
        f"`git -C {shlex.quote(where)} {drop}`"
    )


def _move(repo: Repo, refs: Refs, comparison: Comparison, digest: str, updates: list[str]) -> None:
    """Move branches and records in one transaction; nothing where nothing moves."""
    blob = repo.git("hash-object", "-w", "--stdin", input=digest.encode()).decode().strip()

    def update(name: str, new: str, old: str | None) -> None:
        if new != (old or NONE):
            updates.append(f"update {name} {new} {old or NONE}")

    for state in comparison.states:
        name = state.branch
        start = NONE if state.verdict is Verdict.STALE else state.start
        update(f"refs/heads/{name}", state.new, state.old)
        update(RECORD + name, state.new, refs.records.get(name))
        update(START + name, start, refs.starts.get(name))
    if refs.digest != digest:
        updates.append(f"update {DIGEST} {blob}")
    repo.update_refs(updates)
