"""Commits of branches back into patch files, without loss and without churn.

What is written is not the commits as they stand but the commits as the new series
rebuilds them, topic alone on the pin: the result of an export is therefore applied before
it is believed, and the files are the same bytes however the branch came about. The swap
is a redo log: all new files first stand complete under patches/.staged/, so a kill leaves
the old series or one that the next run finishes.
"""

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from patchstack.apply import (
    Refs,
    both_changed,
    history,
    in_step,
    refuse_unfinished_rebase,
    uncommitted,
    worktrees,
)
from patchstack.errors import ExportError, UnsavedWorkError
from patchstack.git import Repo, scratch
from patchstack.held import HeldPatches, hold
from patchstack.patch import Patch
from patchstack.project import Project
from patchstack.series import Pin, Series, Topic, rewritten_series
from patchstack.source import Source
from patchstack.stack import Builder, format_patches, holds

# Commits of HEAD that no ref holds; `--all` would count HEAD itself.
HEAD_ONLY = ("rev-list", "HEAD", "--not", "--branches", "--tags", "--remotes")
# Where `git am` and `git apply` take the message for ended and the diff for begun.
_DIFF_BEGINS = re.compile(r"^(?:diff -|Index: |---(?:\s*$| \S)|@@ -).*", re.MULTILINE)


@dataclass(frozen=True)
class Export:
    """What an export did: the branches it read and the files it changed."""

    branches: tuple[str, ...]
    written: tuple[Path, ...]
    deleted: tuple[Path, ...]


def export_branches(
    project: Project,
    series: Series,
    source: Source,
    names: tuple[str, ...] = (),
    new_to: str | None = None,
) -> Export:
    """Write the commits of branches to `patches/`.

    `names` are topics or branches; without any, every branch that is not where apply left
    it. `new_to` names the topic of commits on the integration branch that no patch holds
    and whose place does not tell their topic.
    """
    with project.exclusive():
        refs = Refs.read(source.repo)
        branches = _chosen(series, refs, names)
        _refuse_uncommitted(project, source.repo, branches if names else None)
        if not names:
            _refuse_detached(project, source)
        with scratch(project, source.repo, keep_objects=True) as repo:
            held = hold(series, source)
            starts: dict[str, str] = {}
            found: dict[str, dict[str, tuple[Patch, ...]]] = {}
            for branch in branches:
                if branch == series.integration.branch:
                    starts[branch] = source.base
                    _refuse_upstreams(source, branch, source.base, refs.heads[branch])
                    found[branch] = _by_topic(repo, series, source, refs.heads[branch], new_to)
                else:
                    topic = _owner(series, branch)
                    starts[branch] = _start(repo, series, source, refs, topic)
                    _refuse_upstreams(source, branch, starts[branch], refs.heads[branch])
                    known = held[topic.name].commits
                    own = _commits(repo, branch, starts[branch], refs.heads[branch], known)
                    found[branch] = {topic.name: own}
            edited = replace(series, patches=series.patches | _merged(series, refs, found, held))
            builder = Builder(repo, source, edited)
            canonical = {
                topic.name: builder.canonical(topic, held[topic.name]) for topic in series.topics
            }
            builder.integration()
            for branch in branches:
                ours = builder
                if branch == series.integration.branch:  # it does not have the topics' new work
                    ours = Builder(
                        repo, source, replace(series, patches=series.patches | found[branch])
                    )
                _check_lossless(ours, branch, starts[branch], refs.heads[branch])
        written, deleted = swap_series(project, series, series.topics, canonical, series.pin)
        read = {name for topics in found.values() for name in topics}
        exported = replace(series, patches=canonical)
        source.repo.update_refs(in_step(source.repo, refs, exported, read))
        return Export(branches, written, deleted)


def _chosen(series: Series, refs: Refs, names: tuple[str, ...]) -> tuple[str, ...]:
    known = {topic.branch: topic.branch for topic in series.topics}
    known |= {topic.name: topic.branch for topic in series.topics}
    known[series.integration.branch] = series.integration.branch
    if not names:
        moved = [name for name in dict.fromkeys(known.values()) if name in refs.heads]
        return tuple(name for name in moved if refs.heads[name] != refs.records.get(name))
    for name in names:
        if name not in known:
            raise ExportError(
                f"'{name}' is no topic or branch of the series: it has {', '.join(known)}; a new "
                "topic starts as a [[topic]] in patches/series.toml"
            )
        if known[name] not in refs.heads:
            raise ExportError(f"branch {known[name]} is not there: run make apply")
    return tuple(dict.fromkeys(known[name] for name in names))


def _owner(series: Series, branch: str) -> Topic:
    return next(topic for topic in series.topics if topic.branch == branch)


def _refuse_uncommitted(project: Project, repo: Repo, branches: tuple[str, ...] | None) -> None:
    for path, branch in worktrees(repo).items():
        if branches is not None and branch not in branches:
            continue
        refuse_unfinished_rebase(project, path)
        if uncommitted(path):
            raise UnsavedWorkError(
                f"{project.show(path)} has uncommitted changes, an export would miss "
                "them: commit them, or put them aside with `git stash --include-untracked`"
            )


def _refuse_detached(project: Project, source: Source) -> None:
    """Commits made where no branch is checked out would be missed in silence."""
    for path, branch in worktrees(source.repo).items():
        commits = Repo(path).lines(*HEAD_ONLY, source.base)
        if branch is None and commits:
            raise UnsavedWorkError(
                f"{project.show(path)} has {len(commits)} commits on no branch, up to "
                f"{commits[0][:12]}: cherry-pick them onto a topic's branch, or switch away from "
                "them, and export again"
            )


def _start(repo: Repo, series: Series, source: Source, refs: Refs, topic: Topic) -> str:
    """The commit below the topic's own ones: the tip of what it depends on.

    That is where apply put it, or where its branch is now if the topic was rebased onto it:
    of those that it stands on, the nearer one.
    """
    candidates: list[str | None] = [source.base]
    if topic.depends_on:
        below = series.closure(topic)[-2]
        candidates = [refs.starts.get(topic.branch), refs.heads.get(below.branch)]
    tip = refs.heads[topic.branch]
    below_tip = [one for one in candidates if one and repo.is_ancestor(one, tip)]
    if below_tip:
        return min(below_tip, key=lambda one: len(repo.commits(one, tip)))
    needed = ", ".join(topic.depends_on) or f"upstream {source.release}"
    raise ExportError(
        f"branch {topic.branch} does not stand on {needed} as applied: rebase it onto "
        f"{candidates[-1] or 'that branch'}"
    )


def _refuse_upstreams(source: Source, branch: str, start: str, tip: str) -> None:
    """A branch that was rebased onto a later upstream holds commits of nobody's topic."""
    names = source.repo.lines(
        "for-each-ref", "--format=%(refname)", "refs/remotes/origin", "refs/tags"
    )
    upstream = [name for name in names if re.match(r"refs/(?:remotes/origin/|tags/\d)", name)]
    own = source.repo.lines("rev-list", f"{start}..{tip}", "--not", *upstream)
    if len(own) < len(source.repo.commits(start, tip)):
        raise ExportError(
            f"{branch} holds commits of upstream after {source.release}: rebase it onto the pin "
            f"({source.base[:12]}), or move the pin with make rebase ARGS=--write"
        )


def _commits(
    repo: Repo, branch: str, start: str, tip: str, known: Collection[Patch]
) -> tuple[Patch, ...]:
    """The commits of a branch as patches, refusing what a patch cannot carry.

    One that is among the `known` patches has the very bytes of that one.
    """
    merges = repo.lines("rev-list", "--merges", f"{start}..{tip}")
    if merges:
        raise ExportError(
            f"{branch} has a merge commit {merges[0][:12]}: a series is linear, rebase instead"
        )
    # A diff names both sides in one line, without quotes: "a/x b/y b/x b/y".
    for path in repo.lines("log", "--format=", "--name-only", f"{start}..{tip}"):
        if " b/" in path:
            raise ExportError(
                f"{branch}: {path}: the name of a folder in a patch cannot end in ' b': rename it"
            )
    for commit in repo.commits(start, tip):
        found = _DIFF_BEGINS.search(repo.text("log", "-1", "--format=%B", commit))
        if found:
            raise ExportError(
                f"{branch}: the message of {commit[:12]} has a line '{found[0]}', which in a patch "
                "begins the diff: indent it"
            )
    patches = format_patches(repo, start, tip)
    if not patches:
        raise ExportError(
            f"{branch} has no commits of its own, its topic would become empty: take the topic out "
            "of patches/series.toml if that is meant"
        )
    for patch in patches:
        if not patch.subject:
            raise ExportError(f"{branch}: a commit has no message: give it one")
        if b"\ndiff --git " not in patch.data:
            raise ExportError(f"{branch}: commit '{patch.subject}' is empty: drop it")
        # Here `git am` finds the blob and is content; on another machine there is none.
        if patch.binary:
            raise ExportError(
                f"{branch}: commit '{patch.subject}' changes a binary file, which a patch cannot "
                "carry: leave it out"
            )
    commits = zip(patches, repo.commits(start, tip), strict=True)
    return tuple(
        next(
            (replace(one, data=old.data) for old in known if holds(repo, old, one, commit)),
            one,
        )
        for one, commit in commits
    )


def _by_topic(
    repo: Repo, series: Series, source: Source, tip: str, new_to: str | None
) -> dict[str, tuple[Patch, ...]]:
    """The commits of the integration branch, each with the topic it belongs to.

    A commit belongs where its patch is already, or one with the same subject. One that is
    new belongs to the topic it stands in the middle of, or else to `new_to`.
    """
    every = hold(series, source)
    known = [patch for held in every.values() for patch in held.commits]
    patches = _commits(repo, series.integration.branch, source.base, tip, known)
    by_change: dict[bytes, str] = {}
    by_subject: dict[str, str | None] = {}
    for name, held in every.items():
        by_change |= {patch.change: name for patch in held.commits}
        for subject in {patch.subject for patch in held.patches}:
            by_subject[subject] = None if subject in by_subject else name  # of two, it tells none
    owners = [by_change.get(patch.change) or by_subject.get(patch.subject) for patch in patches]
    if new_to is not None:
        series.topic(new_to)
    for index, patch in enumerate(patches):
        if owners[index] is None:
            before = next((name for name in reversed(owners[:index]) if name), None)
            after = next((name for name in owners[index + 1 :] if name), None)
            if len(series.topics) == 1:
                before = after = series.topics[0].name
            if new_to is None and (before != after or before is None):
                raise ExportError(
                    f"commit '{patch.subject}' is new and could belong to more than one topic: "
                    "name it with --new-to TOPIC"
                )
            owners[index] = new_to or before or after
    found: dict[str, tuple[Patch, ...]] = {topic.name: () for topic in series.topics}
    order = list(found)
    position = 0
    for owner, patch in zip(owners, patches, strict=True):
        assert owner is not None
        if order.index(owner) < position:
            raise ExportError(
                f"commit '{patch.subject}' of topic '{owner}' stands after commits of topic "
                f"'{order[position]}': reorder with `git rebase --interactive`"
            )
        position = order.index(owner)
        found[owner] = (*found[owner], patch)
    for name, own in found.items():
        if not own and series.patches[name]:
            raise ExportError(
                f"no commit of topic '{name}' is left on {series.integration.branch}: take the "
                "topic out of patches/series.toml if that is meant"
            )
    return found


def _merged(
    series: Series,
    refs: Refs,
    found: Mapping[str, Mapping[str, tuple[Patch, ...]]],
    held: Mapping[str, HeldPatches],
) -> dict[str, tuple[Patch, ...]]:
    """The patches of every topic that some branch has changed.

    A topic has a branch of its own and a part of the integration branch. Where both have
    been worked on, they must say the same.
    """
    merged: dict[str, tuple[Patch, ...]] = {}
    said: dict[str, tuple[str, list[bytes]]] = {}
    for branch, topics in found.items():
        for name, patches in topics.items():
            if [one.data for one in patches] == [one.data for one in held[name].commits]:
                continue
            changes = [patch.change for patch in patches]
            if name in refs.out_of_step(series):
                raise both_changed(name, branch)
            other, theirs = said.setdefault(name, (branch, changes))
            if theirs != changes:
                raise ExportError(
                    f"topic '{name}' was changed on {other} and otherwise on {branch}: export one "
                    "of them by name, then repeat the other's work on what apply makes of it"
                )
            merged[name] = patches
    return merged


def _check_lossless(builder: Builder, branch: str, start: str, tip: str) -> None:
    """The rebuilt commits must be the branch's: `git am` loses what looks like mail syntax."""
    repo, edited = builder.repo, builder.series
    if branch == edited.integration.branch:
        new_start, new_tip = builder.source.base, builder.integration()
    else:
        new_start, new_tip = builder.branch(_owner(edited, branch))
    # Trees can only be the same where the topic stands on the same ground as before.
    same_ground = repo.text("rev-parse", f"{start}^{{tree}}", f"{new_start}^{{tree}}").split()
    trees = len(set(same_ground)) == 1
    if history(repo, start, tip, trees=trees) == history(repo, new_start, new_tip, trees=trees):
        return
    for old, new in zip(repo.commits(start, tip), repo.commits(new_start, new_tip), strict=False):
        one = [history(repo, f"{commit}~1", commit, trees=trees) for commit in (old, new)]
        if one[0] != one[1]:
            raise ExportError(
                f"{branch}: commit {repo.text('log', '-1', '--format=%h %s', old)} does not "
                "survive as a patch: its message may begin with '[PATCH]' or a line like 'From:', "
                "or have blanks at the end of a line; rewrite that part"
            )
    raise ExportError(f"{branch}: the export does not rebuild its commits: nothing was written")


def swap_series(
    project: Project,
    series: Series,
    topics: tuple[Topic, ...],
    patches: dict[str, tuple[Patch, ...]],
    pin: Pin,
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Put `patches` in the place of the series' files; returns files written and deleted.

    Files whose bytes are the same are not touched. A topic of `series` that is not among
    `topics` loses its patches and its table in series.toml.
    """
    topics = tuple(
        topic.model_copy(update={"patches": tuple(patch.name for patch in patches[topic.name])})
        for topic in topics
    )
    wanted = {
        project.patches / topic.name / patch.name: patch.data
        for topic in topics
        for patch in patches[topic.name]
    }
    wanted[project.series_file] = rewritten_series(project, topics, pin)
    current = {
        project.patches / name / patch.name for name, own in series.patches.items() for patch in own
    }
    write = {
        file: data
        for file, data in wanted.items()
        if not file.is_file() or file.read_bytes() != data
    }
    delete = current - set(wanted)
    if write or delete:
        _stage(project, write, delete)
        finish_interrupted_swap(project)
    return tuple(sorted(write)), tuple(sorted(delete))


def _stage(project: Project, write: dict[Path, bytes], delete: set[Path]) -> None:
    """Write the new files, complete, under patches/.staged/, and the plan last."""
    finish_interrupted_swap(project)
    for file, data in write.items():
        target = project.staged / file.relative_to(project.patches)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    plan = {
        "write": sorted(str(file.relative_to(project.patches)) for file in write),
        "delete": sorted(str(file.relative_to(project.patches)) for file in delete),
    }
    project.staged.mkdir(exist_ok=True)
    unfinished = project.staged_plan.with_suffix(".unfinished")
    with unfinished.open("w") as out:
        json.dump(plan, out)
        out.flush()
        os.fsync(out.fileno())  # an empty plan after a power loss would be no plan
    unfinished.replace(project.staged_plan)  # from here on the export will happen


def finish_interrupted_swap(project: Project) -> bool:
    """Carry out what stands under patches/.staged/, from wherever it was left; was there any?"""
    staged, planned = project.staged, project.staged_plan.is_file()
    if planned:
        plan = json.loads(project.staged_plan.read_text())
        for name in plan["write"]:
            if (staged / name).exists():
                (project.patches / name).parent.mkdir(parents=True, exist_ok=True)
                (staged / name).replace(project.patches / name)
        for name in plan["delete"]:
            (project.patches / name).unlink(missing_ok=True)
        project.staged_plan.unlink()
    shutil.rmtree(staged, ignore_errors=True)
    return planned
