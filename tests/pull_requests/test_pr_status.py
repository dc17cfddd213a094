"""What became of a topic, seen and kept, with a network and without."""

import json

import pytest
from conftest import FORK, UPSTREAM, Contributor
from stub import Fault

MARKERS = (
    "# Status\n\nBy hand.\n\n<!-- START pull-requests -->\n<!-- END pull-requests -->\n\nMore.\n"
)


@pytest.fixture
def submitted(contributor: Contributor) -> Contributor:
    (contributor.sandbox.root / "status.md").write_text(MARKERS)
    contributor.opens("core", "--submit")
    return contributor


def status(contributor: Contributor) -> list[str]:
    """The rows of the table in status.md after a look; all around it stays."""
    contributor.opens(door="pr_status")
    text = (contributor.sandbox.root / "status.md").read_text()
    assert text.startswith("# Status\n\nBy hand.\n\n<!-- START pull-requests -->\n| topic |")
    assert text.endswith(" |\n<!-- END pull-requests -->\n\nMore.\n")
    return [line for line in text.splitlines() if line.startswith("| core")]


def test_a_draft_and_what_happens_to_it(submitted: Contributor) -> None:
    github, head = submitted.github, submitted.tip
    (row,) = status(submitted)
    where = f"| core | pull request {UPSTREAM}#101 "
    assert row.startswith(f"{where}| draft |  |  |  | as pushed | 20")
    github.pull(101)["draft"] = False
    github.review(101, "ann", "CHANGES_REQUESTED")
    github.review(101, "ann", "COMMENTED")
    github.review(101, "bob", "CHANGES_REQUESTED")
    github.review(101, "bob", "APPROVED")
    github.review(101, "eve", "COMMENTED")
    github.check(head, "tests", "completed", "failure")
    github.check(head, "black", "completed", "success")
    github.check(head, "docs", "in_progress", None)
    github.comment(101, "somebody")
    github.comment(101, "ann", "MEMBER")
    (row,) = status(submitted)
    review = "1 approved, 1 changes requested, 1 commented"
    checks = "1 failure, 1 in progress, 1 success"
    assert row.startswith(f"{where}| open | {review} | {checks} | ann 2026-01-02 | as pushed |")
    submitted.amend()
    assert "| patches/ is ahead |" in status(submitted)[0]
    github.close(101, merged=True)
    assert "| merged: remove it at the next rebase |" in status(submitted)[0]


def test_a_head_that_others_pushed_and_a_pin_that_moved(submitted: Contributor) -> None:
    file = submitted.sandbox.root / "data" / "pull_requests.json"
    record = json.loads(file.read_text())
    record["topics"]["core"]["pin"] = "1" * 40
    file.write_text(json.dumps(record))
    assert "| behind the pin |" in status(submitted)[0]
    record["topics"]["core"]["pushed"] = "2" * 40
    file.write_text(json.dumps(record))
    assert f"| others pushed {submitted.tip[:12]}, behind the pin |" in status(submitted)[0]


def test_what_was_known_before_anything_was_opened(contributor: Contributor) -> None:
    github = contributor.github
    (contributor.sandbox.root / "status.md").write_text(MARKERS)
    number = github.add_pull("KRRT7:master", "The first attempt")
    mirror = github.add_pull("KRRT7:master", "Its mirror", FORK)
    issue = github.add_issue("Slow", "It is.", "zoe")
    seen = {f"{FORK}#{mirror}": {"kind": "pull request"}, f"{UPSTREAM}#7": {"kind": "issue"}}
    file = contributor.sandbox.root / "data" / "pull_requests.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"topics": {"core": {"seen": seen}}}))
    contributor.sandbox.edit_series(
        ('name = "core"', f'name = "core"\npull_request = {number}\nissue = {issue}')
    )
    github.faults.append(
        Fault("GET", f"/repos/{FORK}/pulls/.*", 404, {"message": "Not Found"}, times=9)
    )
    github.faults.append(
        Fault("GET", f"/repos/{UPSTREAM}/issues/7", 410, {"message": "Deleted"}, times=9)
    )
    ended = contributor.run(door="pr_status")
    assert ended.code == 0 and "note: GitHub: GET repos/KRRT7/metaflow/pulls" in ended.err
    rows = status(contributor)
    assert [row.split(" | ")[1:3] for row in rows] == [
        [f"issue {UPSTREAM}#{issue}", "open"],
        [f"pull request {UPSTREAM}#{number}", "open"],
        [f"pull request {FORK}#{mirror}", "unknown"],
        [f"issue {UPSTREAM}#7", "unknown"],
    ]
    assert rows[2].endswith("|  |  |  |  | not verified yet |")


@pytest.mark.parametrize("without", ["network", "account"])
def test_offline_the_last_known_state_and_its_age(submitted: Contributor, without: str) -> None:
    file = submitted.sandbox.root / "data" / "pull_requests.json"
    seen = json.loads(file.read_text())["topics"]["core"]["seen"][f"{UPSTREAM}#101"]["at"]
    file.write_text(file.read_text().replace(seen, "2025-01-01T00:00:00Z"))
    before, env = submitted.state, {"COLUMNS": "200"}
    if without == "network":
        submitted.github.socket.unlink()
    else:
        env["GH_TOKEN"] = ""
    ended = submitted.run(door="pr_status", **env)
    assert ended.code == 0 and ended.err.startswith("note: last known state: ")
    assert " d ago" in ended.out and "draft" in ended.out
    assert submitted.state == before
    text = (submitted.sandbox.root / "status.md").read_text()
    assert "| draft |  |  |  | as pushed | 2025-01-01T00:00:00Z |" in text
    # The same bytes again: a table in a commit does not change with the clock.
    assert "wrote" not in submitted.opens(door="pr_status", **env)


def test_a_token_that_is_not_valid(submitted: Contributor) -> None:
    assert "Bad credentials" in submitted.refused(door="pr_status", GH_TOKEN="ghp_expired")


def test_files_that_cannot_be_used(submitted: Contributor) -> None:
    (submitted.sandbox.root / "status.md").write_text("# Status\n")
    assert (
        "status.md must have the line <!-- START pull-requests -->"
        in submitted.run(door="pr_status").err
    )
    file = submitted.sandbox.root / "data" / "pull_requests.json"
    for content, said in (
        ("{", "not JSON"),
        ('{"topics": {"core": {"pushd": "x"}}}', "topics.core.pushd: Extra"),
    ):
        file.write_text(content)
        assert said in submitted.refused(door="pr_status")
