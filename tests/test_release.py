"""The series of this checkout on the real release: from the package index, and from upstream.

Needs the package index, unless the sdist lies in build/sdist already; and, for the comparison
of both sources, the submodule, or a clone named by the environment variable UPSTREAM_GIT.
"""

from pathlib import Path

import pytest
from sandbox import FORMAT_PATCH, MACHINE, NOT_IN_SDIST, ROOT, git, run_door, topic_table

from patchstack.project import Project
from patchstack.series import Series, load_series

CHANGED = "metaflow/metaflow_version.py"


def apply(project: Project) -> str:
    return run_door(project.root, "apply_patches")


def applied_from_sdist(project: Project) -> tuple[Series, Path]:
    """Apply; a series that has no topic yet gets one for the occasion."""
    assert "from the sdist" in apply(project)
    series = load_series(project)
    tree = project.build / "upstream" / series.pin.release
    if not series.topics:
        git(tree, "checkout", "--quiet", "--detach")
        (tree / CHANGED).write_bytes((tree / CHANGED).read_bytes() + b"# changed\n")
        git(tree, "commit", "--quiet", "--all", "--message", "Change the end")
        folder = project.patches / "end"
        git(tree, *FORMAT_PATCH, "--output-directory", str(folder), "-1")
        with project.series_file.open("a") as file:
            file.write(topic_table("end", [one.name for one in folder.iterdir()]))
        apply(project)
    return load_series(project), tree


def test_the_series_applies_to_the_sdist(release: Project) -> None:
    series, tree = applied_from_sdist(release)
    branches = git(tree, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
    wanted = {series.integration.branch, *(topic.branch for topic in series.topics)}
    assert set(branches) == wanted
    subjects = git(
        tree, "log", "--format=%s", f"refs/patchstack/sdist..{series.integration.branch}"
    )
    patches = [patch for own in series.patches.values() for patch in own]
    assert len(subjects.splitlines()) == len(patches) > 0
    assert apply(release).count("up to date") == len(wanted)


def test_patched_files_are_the_same_from_the_sdist_and_from_upstream(release: Project) -> None:
    ours = Project(ROOT).submodule
    clone = MACHINE.get("UPSTREAM_GIT") or ((ours / ".git").exists() and str(ours))
    if not clone:
        pytest.skip("no upstream at hand: initialize the submodule, or name a clone: UPSTREAM_GIT")
    series, tree = applied_from_sdist(release)
    branch = series.integration.branch
    sdist = blobs(tree, branch)

    git(release.root, "clone", "--quiet", "--shared", "--no-checkout", clone, "metaflow")
    git(release.submodule, "checkout", "--quiet", "--detach", series.pin.commit)
    assert "from the submodule" in apply(release)
    upstream = blobs(release.submodule, branch)

    changed = git(release.submodule, "diff", "--name-only", series.pin.commit, branch).splitlines()
    left_out = {path for path in changed if path not in sdist and path.startswith(NOT_IN_SDIST)}
    compared = [path for path in changed if path not in left_out]
    assert compared
    assert {path: sdist.get(path) for path in compared} == {
        path: upstream.get(path) for path in compared
    }


def blobs(repo: Path, revision: str) -> dict[str, str]:
    lines = git(repo, "ls-tree", "-r", revision).splitlines()
    return {path: entry.split()[2] for entry, path in (line.split("\t") for line in lines)}
