"""Source trees of parts of the series: what benchmarks measure.

A part is the series up to and including a topic, so that what each topic adds can be told.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from patchstack.git import scratch
from patchstack.project import Project
from patchstack.series import Series, Topic
from patchstack.source import Source, source_tree
from patchstack.stack import Builder
from patchstack.wheel import tree_wheel


@dataclass(frozen=True)
class Prefix:
    """The first topics of the series on upstream: files, wheel, and what it was made of."""

    tree: Path
    wheel: Path
    # Hash of the patch files in order, 12 hex digits; None without topics.
    digest: str | None


def prefix(project: Project, series: Series, source: Source, topics: Collection[Topic]) -> Prefix:
    """Upstream with `topics`, which are the first of the series; made once under build/."""
    with project.exclusive():
        with scratch(project, source.repo, keep_objects=True) as repo:
            commit = Builder(repo, source, series).tip(tuple(topics))
        tree = source_tree(project, source, commit)
        wheel = tree_wheel(project, source, commit)
    return Prefix(tree, wheel, digest_patches(series, topics))


def digest_patches(series: Series, topics: Collection[Topic]) -> str | None:
    """Hash of the patch files of `topics` in order, 12 hex digits; None without any."""
    patches = [patch.data for topic in topics for patch in series.patches[topic.name]]
    return hashlib.sha256(b"\0".join(patches)).hexdigest()[:12] if patches else None
