#!/usr/bin/env python3
"""Door: build the patched distribution."""

import door
from patchstack.apply import apply_series, branch_commit
from patchstack.series import load_series
from patchstack.source import pinned_source
from patchstack.wheel import build_wheel


def build() -> None:
    """Build the whole series as `metaflow-<release>+perf.<N>` into `dist/`.

    Install it with `pip install dist/<file>`, extras as usual in brackets behind the name.
    `pip show metaflow` and `metaflow` without a command tell it apart from stock. N is `wheel` in
    `patches/series.toml`.
    """
    project = door.project()
    with project.exclusive():  # an export may be changing it
        series = load_series(project)
        source = pinned_source(project, series.pin)
        apply_series(project, series, source)
    commit = branch_commit(series, source, None)
    local = f"perf.{series.integration.wheel}"
    with door.progress.status("building the wheel"):
        wheel = build_wheel(project, source, commit, local, project.dist)
    door.out.print(project.show(wheel))


if __name__ == "__main__":
    door.run(build)
