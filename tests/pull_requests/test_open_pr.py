"""From a topic to its pull request, with the real gh and git, through everything that happens."""

import time
from conftest import FORK, UPSTREAM, Contributor


def test_nothing_outside_changes_without_submit(contributor: Contributor) -> None:
    t = time.time()
    before = contributor.state
    out = contributor.opens("core")
    print(out, time.time() - t)
    assert contributor.github.head("perf/core") is None
    t = time.time()
    print(contributor.opens("core", "--submit"), time.time() - t)
    print(contributor.state)
    assert 0
