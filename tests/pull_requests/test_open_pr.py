"""From a topic to its pull request, with the real gh and git, through everything that happens."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FORK, PR_MD, TEMPLATE, UPSTREAM, Contributor
from sandbox import ROOT, clean_environment, git
from stub import Fault
from test_gates import TOPIC, series

from patchstack.patch import Patch
from pullrequests.body import BEGIN, END, render_block, replace_block
from pullrequests.errors import GitHubError
from pullrequests.evidence import Evidence
from pullrequests.github import GitHub as API

HEADINGS = [
    *("PR Type", "Summary", "Issue", "Reproduction", "Root Cause", "Why This Fix Is Correct"),
    *("Failure Modes Considered", "Tests", "Non-Goals", "AI Tool Usage"),
]
PULLS = f"/repos/{UPSTREAM}/pulls"
BLOCK = re.compile(r"<!-- metaflow-perf: generated.*?<!-- metaflow-perf: end -->", re.DOTALL)


def changes(contributor: Contributor) -> list[str]:
    """The requests that were made to change something."""
    made = contributor.github.requests
    return [f"{one.method} {one.path}" for one in made if one.method != "GET"]


def forks_refs(contributor: Contributor) -> dict[str, str]:
    lines = git(contributor.github.fork_git, "for-each-ref", "--format=%(refname) %(objectname)")
    return dict(line.split() for line in lines.splitlines())  # type: ignore[misc]


def test_nothing_changes_without_submit(contributor: Contributor) -> None:
    before = contributor.sandbox.state(), forks_refs(contributor), contributor.state
    out = contributor.opens("core")
    after = contributor.sandbox.state(), forks_refs(contributor), contributor.state
    assert before == after
    assert changes(contributor) == []
    body = contributor.sandbox.root / "build" / "pull_requests" / "core.md"
    assert body.read_text() in out
    assert "metaflow/store.py | 4 ++--" in out
    assert f"{contributor.tip}:refs/heads/perf/core" in out
    assert f'--method POST repos/{UPSTREAM}/pulls {{"title": "The topic core"' in out


def test_the_first_submission(contributor: Contributor) -> None:
    before = forks_refs(contributor)
    contributor.opens("core", "--submit")
    assert forks_refs(contributor) == {**before, "refs/heads/perf/core": contributor.tip}
    (pull,) = contributor.github.pulls
    assert (pull["draft"], pull["base"]["ref"], pull["title"]) == (True, "master", "The topic core")
    assert pull["head"]["label"] == "KRRT7:perf/core"
    body = pull["body"]
    assert re.findall("^## (.*)$", re.sub("```.*?```", "", body, flags=re.S), re.M) == HEADINGS
    assert "- [x] Bug fix" in body and body.count("[x]") == 3
    assert "Step 2 is faster." in body and "Addition commutes." in body
    assert "- Add the faster step 2\n" in body
    assert "Why: größer is not\nalways better." in body
    assert f'"pull_request": {pull["number"]}' in contributor.state
    assert f'"pushed": "{contributor.tip}"' in contributor.state


def test_running_again_does_nothing(contributor: Contributor) -> None:
    contributor.opens("core", "--submit")
    once = changes(contributor), forks_refs(contributor), contributor.github.pulls
    out = contributor.opens("core", "--submit")
    assert "nothing to push and nothing to call" in out and "up to date" in out
    assert (changes(contributor), forks_refs(contributor), contributor.github.pulls) == once


def test_an_update_keeps_what_people_wrote(contributor: Contributor) -> None:
    contributor.opens("core", "--submit")
    (pull,) = contributor.github.pulls
    # As the web page sends it: other line ends, and the title is edited too.
    edited = pull["body"].replace("Subtraction.", "Division, says a maintainer.")
    pull |= {"body": edited.replace("\n", "\r\n"), "title": "[core] Better"}
    contributor.amend()
    contributor.pr_md("Step 2 is faster.", "Steps 2 and 10 are faster.")
    shown = contributor.opens("core")
    assert "Division, says a maintainer." in shown and "Speed up step 10" in shown
    assert "Steps 2 and 10" not in shown, "what is shown is what would be sent"
    out = contributor.opens("core", "--submit")
    assert "GitHub has other text than pr.md: it stays" in out
    (after,) = contributor.github.pulls
    assert after["number"] == pull["number"] and after["title"] == "[core] Better"
    assert "Speed up step 10" in after["body"]
    assert BLOCK.sub("", after["body"]) == BLOCK.sub("", edited.replace("\n", "\r\n"))
    assert contributor.github.head("perf/core") == contributor.tip
    assert changes(contributor)[-1] == f"PATCH {PULLS}/{pull['number']}"


@pytest.mark.parametrize(
    "body", ["All mine now.", f"{BEGIN}\nMine.\n{BEGIN}\n{END}", f"{BEGIN}{END}{END}", END + BEGIN]
)
def test_a_body_without_one_block_stops_before_the_push(
    contributor: Contributor, body: str
) -> None:
    contributor.opens("core", "--submit")
    pushed = contributor.tip
    (pull,) = contributor.github.pulls
    pull["body"] = body
    contributor.amend()
    assert "does not hold the generated block once" in contributor.refused("core", "--submit")
    assert contributor.github.head("perf/core") == pushed
    assert pull["body"] == body


def test_other_line_ends_are_no_change(contributor: Contributor) -> None:
    contributor.opens("core", "--submit")
    (pull,) = contributor.github.pulls
    pull["body"] = pull["body"].replace("\n", "\r\n")
    out = contributor.opens("core", "--submit")
    assert "note:" not in out and changes(contributor) == [f"POST {PULLS}"]


def test_an_edit_after_the_look_is_kept(contributor: Contributor) -> None:
    contributor.opens("core", "--submit")
    (pull,) = contributor.github.pulls
    contributor.amend()

    def edit() -> None:
        pull["body"] = pull["body"].replace("Subtraction.", "Division.")

    contributor.github.faults.append(Fault("GET", f"{PULLS}/101", 503, call=edit))
    contributor.opens("core", "--submit")
    assert "Division." in pull["body"] and "Speed up step 10" in pull["body"]


def test_a_commit_message_cannot_end_the_block() -> None:
    message = f"Subject: [PATCH] X\n\n{BEGIN}{END[:-4]}{END} -->\n---\n"
    made = Patch("0001-x.patch", message.encode())
    block = render_block(series(made), TOPIC, Evidence("", (), ""), ())
    assert replace_block(f"a{block}b", "new", "x") == "anewb"


def test_the_stat_is_of_all_that_the_pull_request_would_hold(contributor: Contributor) -> None:
    sandbox = contributor.sandbox
    (sandbox.project.patches / "fast" / "pr.md").write_text(PR_MD)
    stat = sandbox.git("diff", "--stat=100", sandbox.series().pin.commit, "perf/fast")
    assert stat.strip() in contributor.opens("fast")


@pytest.mark.parametrize("door", ["pr", "status"])
def test_the_menu_leads_to_the_doors(tmp_path: Path, door: str) -> None:
    """Where the machine has uv, and where it has none."""
    for path in ("/usr/bin:/bin", f"{tmp_path}:/usr/bin:/bin"):
        done = subprocess.run(
            ["make", "--dry-run", door],
            cwd=ROOT,
            env={"PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        (tmp_path / "uv").write_text("#!/bin/sh\n")
        (tmp_path / "uv").chmod(0o755)


# Interruptions.


def test_an_answer_that_is_lost_between_push_and_create(contributor: Contributor) -> None:
    contributor.github.faults.append(Fault("POST", PULLS))
    contributor.refused("core", "--submit")
    assert contributor.github.head("perf/core") == contributor.tip
    assert contributor.github.pulls == []
    out = contributor.opens("core", "--submit")
    assert "already pushed" in out
    assert len(contributor.github.pulls) == 1


def door(contributor: Contributor) -> "subprocess.Popen[bytes]":
    """open_pr as a process of its own group, to be killed."""
    command = [sys.executable, str(ROOT / "scripts" / "open_pr.py"), "core", "--submit"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    root, env = contributor.sandbox.root, clean_environment(**contributor.env)
    return subprocess.Popen(command, cwd=root, env=env, start_new_session=True, **quiet)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("created", [False, True])
def test_a_kill_while_it_is_created(contributor: Contributor, created: bool) -> None:
    running: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        os.killpg(running[0].pid, signal.SIGKILL)

    fault = Fault("POST", PULLS, carried_out=created, call=kill)
    contributor.github.faults.append(fault)
    running.append(door(contributor))
    assert running[0].wait() == -signal.SIGKILL
    assert len(contributor.github.pulls) == created
    assert '"pull_request"' not in contributor.state
    contributor.opens("core", "--submit")
    assert len(contributor.github.pulls) == 1
    assert '"pull_request": 101' in contributor.state


def test_a_kill_between_the_push_and_its_record(contributor: Contributor, tmp_path: Path) -> None:
    group = tmp_path / "group"
    hook = contributor.github.fork_git / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nkill -9 -$(cat '{group}')\n")
    hook.chmod(0o755)
    process = door(contributor)
    group.write_text(str(process.pid))
    assert process.wait() == -signal.SIGKILL
    hook.unlink()
    pushed = contributor.tip
    assert contributor.github.head("perf/core") == pushed
    assert '"pushed"' not in contributor.state
    # Another tip by now, and killed again, before its push: the first one is still ours.
    contributor.amend()
    stop = contributor.github.fork_git / "hooks" / "pre-receive"
    stop.write_text(f"#!/bin/sh\nkill -9 -$(cat '{group}')\nexit 1\n")
    stop.chmod(0o755)
    process = door(contributor)
    group.write_text(str(process.pid))
    assert process.wait() == -signal.SIGKILL
    stop.unlink()
    assert contributor.github.head("perf/core") == pushed
    contributor.opens("core", "--submit")
    assert contributor.github.head("perf/core") == contributor.tip


def test_a_server_error_after_all_was_done(contributor: Contributor) -> None:
    contributor.github.faults.append(Fault("POST", PULLS, 502, carried_out=True))
    contributor.opens("core", "--submit")
    assert len(contributor.github.pulls) == 1
    assert changes(contributor) == [f"POST {PULLS}"]


def test_a_list_that_lags_and_a_duplicate_that_is_refused(contributor: Contributor) -> None:
    contributor.opens("core", "--submit")
    (contributor.sandbox.root / "data" / "pull_requests.json").unlink()
    contributor.github.lag = 2  # the looks of the preparation and before the creation
    contributor.opens("core", "--submit")
    assert changes(contributor) == [f"POST {PULLS}"] * 2
    assert len(contributor.github.pulls) == 1
    assert '"pull_request": 101' in contributor.state


# What upstream does.


@pytest.mark.parametrize(("merged", "said"), [(False, "closed upstream"), (True, "is merged")])
def test_a_closed_pull_request(contributor: Contributor, merged: bool, said: str) -> None:
    contributor.opens("core", "--submit")
    pushed = contributor.tip
    contributor.github.close(101, merged=merged)
    contributor.amend()
    assert said in contributor.refused("core", "--submit")
    assert contributor.github.head("perf/core") == pushed
    assert changes(contributor) == [f"POST {PULLS}"]


def test_a_renamed_branch_opens_no_second_one(contributor: Contributor) -> None:
    contributor.opens("core", "--submit")
    contributor.sandbox.edit_series(('branch = "perf/core"', 'branch = "perf/again"'))
    line = contributor.refused("core", "--submit")
    assert "Netflix/metaflow#101 is open from KRRT7:perf/core: close it, or" in line
    assert contributor.github.head("perf/again") is None
    contributor.github.close(101)
    contributor.opens("core", "--submit")
    assert [pull["state"] for pull in contributor.github.pulls] == ["closed", "open"]


def test_beside_the_one_of_series_toml_there_is_no_second(contributor: Contributor) -> None:
    number = contributor.github.add_pull("KRRT7:first-try", "The first attempt")
    contributor.sandbox.edit_series(('name = "core"', f'name = "core"\npull_request = {number}'))
    line = contributor.refused("core", "--submit")
    assert f"Netflix/metaflow#{number} is open from KRRT7:first-try: close it, or" in line
    assert changes(contributor) == [] and contributor.github.head("perf/core") is None
    contributor.github.close(number)
    contributor.opens("core", "--submit")


def push_as_maintainer(contributor: Contributor, tmp_path: Path) -> str:
    clone = tmp_path / "maintainer"
    git(tmp_path, "clone", "-q", "-b", "perf/core", str(contributor.github.fork_git), str(clone))
    (clone / "metaflow" / "store.py").write_text("# Better.\n")
    git(clone, "commit", "--quiet", "--all", "--message", "Say it better")
    git(clone, "push", "--quiet")
    return git(clone, "rev-parse", "HEAD")


def test_a_maintainers_commit_stops_the_push(contributor: Contributor, tmp_path: Path) -> None:
    contributor.opens("core", "--submit")
    theirs = push_as_maintainer(contributor, tmp_path)
    contributor.amend()
    objects = contributor.sandbox.git("count-objects", "-v")
    shown = contributor.run("core", "--submit")
    assert shown.code == 1 and shown.err.count("\n") == 1
    assert "Say it better" in shown.err and f"--replace {theirs}" in shown.err
    assert re.search(r"3: +[0-9a-f]+ Say it better", shown.out), "the range-diff"
    assert contributor.github.head("perf/core") == theirs
    assert contributor.sandbox.git("count-objects", "-v") == objects
    contributor.opens("core", "--submit", "--replace", theirs)
    assert contributor.github.head("perf/core") == contributor.tip


# Gates and readiness.


def test_ready_needs_every_gate_or_a_reason(contributor: Contributor) -> None:
    line = contributor.run("core", "--ready")
    assert line.code == 1
    assert "tests-added (no test added)" in line.err and "issue (none linked)" in line.err
    assert changes(contributor) == [] and contributor.github.head("perf/core") is None
    reasons = ("tests-added=it is tested elsewhere", "issue=asked in the chat", "evidence=obvious")
    options = [part for reason in reasons for part in ("--override", reason)]
    contributor.opens("core", "--ready", *options)
    (pull,) = contributor.github.pulls
    assert not pull["draft"]
    assert "- tests-added: no test added; because: it is tested elsewhere" in pull["body"]
    # The reasons are on record, and stay without being given again.
    contributor.opens("core", "--submit")
    assert "because: asked in the chat" in contributor.github.pulls[0]["body"]


@pytest.mark.parametrize("given", ["tests-added", "tests-added= ", "statement=none", "nothing=x"])
def test_an_override_needs_a_gate_and_a_reason(contributor: Contributor, given: str) -> None:
    assert "write GATE=REASON" in contributor.refused("core", "--override", given)


@pytest.mark.parametrize("boxes", [False, True])
def test_a_statement_is_asked_for_and_never_made_up(contributor: Contributor, boxes: bool) -> None:
    file = contributor.sandbox.project.patches / "core" / "pr.md"
    empty = TEMPLATE.partition("\n## AI Tool Usage")[1:] if boxes else ()
    file.write_text("".join((file.read_text().partition("\n## AI Tool Usage")[0], *empty)))
    assert "fail  statement     not stated" in contributor.opens("core")
    assert "statement (not stated)" in contributor.run("core", "--ready").err
    door = [sys.executable, str(ROOT / "scripts" / "open_pr.py"), "core", "--statement"]
    answers = "y\nA completion tool\nthe tests\nyes, all of it\n"
    env = clean_environment(**contributor.env)
    root = contributor.sandbox.root
    for given, expected in (("", 1), ("\n", 1), (answers, 0)):
        done = subprocess.run(door, cwd=root, env=env, input=given, text=True, capture_output=True)
        assert done.returncode == expected, done.stderr
        assert ("- [x]" in file.read_text().partition("## AI Tool Usage")[2]) == (not expected)
    assert "ok    statement     used, and described" in done.stdout
    assert "- For what? the tests" in file.read_text()
    assert file.read_text().startswith(PR_MD.partition("\n## AI Tool Usage")[0])


def test_a_topic_on_hold_is_not_submitted(contributor: Contributor) -> None:
    file = contributor.sandbox.project.series_file
    file.write_text(file.read_text().replace('intent = "submit"', 'intent = "hold"', 1))
    assert "intent 'hold': measured" in contributor.refused("core", "--submit")
    assert contributor.github.head("perf/core") is None


# The issue.


def test_ready_says_what_github_says(
    contributor: Contributor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in contributor.env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GitHubError, match=r"to a node .*: mark it ready there"):
        API("github.com").mark_ready("PR_7")


def test_the_issue_comes_first(contributor: Contributor) -> None:
    draft = contributor.sandbox.project.patches / "core" / "issue.md"
    out = contributor.opens("core", "--issue")
    assert f"--method POST repos/{UPSTREAM}/issues" in out and contributor.github.issues == []
    assert draft.read_text().startswith("# The topic core\n\n## Problem\n\nIt added in the wrong")
    draft.write_text(draft.read_text().replace("The topic core", "Steps are slow"))
    contributor.opens("core", "--issue", "--submit")
    (issue,) = contributor.github.issues
    assert issue["title"] == "Steps are slow" and "## Not part of it" in issue["body"]
    assert "is the topic's issue already" in contributor.opens("core", "--issue", "--submit")
    assert len(contributor.github.issues) == 1
    assert "fail  issue         Netflix/metaflow#101 is open, nobody" in contributor.opens("core")
    contributor.github.comment(101, "a-maintainer", "MEMBER")
    contributor.opens("core", "--submit")
    assert "## Issue\n\nFixes #101\n" in contributor.github.pulls[0]["body"]


@pytest.mark.parametrize("status", [0, 502])
def test_no_second_issue_after_a_lost_answer(contributor: Contributor, status: int) -> None:
    path = f"/repos/{UPSTREAM}/issues"
    contributor.github.add_issue("Another one of mine", "Text", "zoe")
    contributor.github.faults.append(Fault("POST", path, status, carried_out=True))
    contributor.run("core", "--issue", "--submit")
    contributor.opens("core", "--issue", "--submit")
    assert [issue["number"] for issue in contributor.github.issues] == [101, 102]
    assert '"issue": 102' in contributor.state


# GitHub fails.


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            Fault(
                "GET",
                f"/repos/{FORK}",
                403,
                {"message": "API rate limit exceeded"},
                {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1767229200"},
            ),
            "run again after 01:00 UTC",
        ),
        (
            Fault(
                "GET", f"/repos/{FORK}", 403, {"message": "secondary limit"}, {"Retry-After": "9"}
            ),
            "run again in 9 s",
        ),
        (
            Fault("GET", f"/repos/{FORK}", 403, {"message": "SAML"}),
            "check what the token of gh may",
        ),
        (Fault("GET", f"/repos/{FORK}", 404, {"message": "Not Found"}), "not for this account"),
        (Fault("GET", f"/repos/{FORK}", 502, times=9), "run again later"),
        (
            Fault(
                "POST",
                PULLS,
                422,
                {
                    "message": "Validation Failed",
                    "documentation_url": "https://docs",
                    "errors": [{"code": "custom", "message": "No commits between"}],
                },
            ),
            "No commits between: mend that",
        ),
    ],
    ids=["rate", "secondary", "forbidden", "missing", "server", "unprocessable"],
)
def test_a_failure_is_one_line_with_a_remedy(
    contributor: Contributor, fault: Fault, said: str
) -> None:
    contributor.github.faults.append(fault)
    assert said in contributor.refused("core", "--submit")
    assert contributor.github.pulls == []


def test_a_server_that_fails_once_is_asked_again(contributor: Contributor) -> None:
    contributor.github.faults.append(Fault("GET", f"/repos/{FORK}", 503))
    contributor.opens("core", "--submit")
    assert len(contributor.github.pulls) == 1


def test_a_token_that_is_not_valid(contributor: Contributor) -> None:
    line = contributor.refused("core", "--submit", GH_TOKEN="ghp_expired0123456789")
    assert "Bad credentials: the token is not valid: run `gh auth login`" in line


def test_without_a_network(contributor: Contributor) -> None:
    contributor.github.socket.unlink()
    assert "no answer from github.com" in contributor.refused("core", "--submit")
    out = contributor.opens("core")
    assert "not to be submitted now: no answer from github.com" in out
    assert contributor.github.head("perf/core") is None


def test_without_gh(contributor: Contributor, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("git", "sh"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True)
        (tools / tool).symlink_to(found.stdout.strip())
    line = contributor.refused("core", "--submit", PATH=str(tools))
    assert "gh is not installed: install it" in line


def test_not_logged_in(contributor: Contributor) -> None:
    line = contributor.refused("core", "--submit", GH_TOKEN="")
    assert "gh is not logged in to github.com: run `gh auth login`" in line
