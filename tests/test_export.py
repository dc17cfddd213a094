"""What export writes, byte for byte, and what it refuses to write."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox import EXACT_STEP_9, FAST_STEP_2, ROOT, UPSTREAM, Sandbox, clean_environment

MINE = {"metaflow/mine.py": "mine = 1\n"}

# Said out here once: everything else compares exports with each other.
CANONICAL = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: Zoë Contributor <zoe@example.org>
Date: Sat, 3 Feb 2024 04:05:06 +0530
Subject: [PATCH] [io] Größe: say it
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit

Because.

diff --git a/metaflow/größe.py b/metaflow/größe.py
index {old}..{new} 100644
--- a/metaflow/größe.py
+++ b/metaflow/größe.py
@@ -1,2 +1,2 @@
-größe = 1
+größe = 10
 maß = 2
diff --git a/metaflow/mine.py b/metaflow/mine.py
new file mode 100644
index {zeros}..{mine}
--- /dev/null
+++ b/metaflow/mine.py
@@ -0,0 +1 @@
+mine = 1
"""


def test_the_bytes_of_a_patch(submodule) -> None:
    submodule.remove_topic("lone")
    submodule.apply()
    submodule.switch("perf/core")
    message = "[io] Größe: say it\n\nBecause.\n"
    submodule.commit(message, {"metaflow/größe.py": ("größe = 1", "größe = 10")} | MINE)
    submodule.export()

    def blob(revision: str, name: str) -> str:
        return submodule.git("rev-parse", f"{revision}:metaflow/{name}.py")

    expected = CANONICAL.format(
        old=blob("1.0", "größe"),
        new=blob("perf/core", "größe"),
        mine=blob("perf/core", "mine"),
        zeros="0" * 40,
    )
    written = submodule.project.patches / "core" / "0003-io-Gr-e-say-it.patch"
    assert written.read_bytes() == expected.encode()


def test_an_unchanged_series_touches_no_file(sandbox) -> None:
    before = sandbox.snapshot()
    said = sandbox.opens("export_patches", "core", "fast", "lone", "perf/series")
    assert said == "patches/ already holds every commit\n"
    assert sandbox.snapshot() == before


def test_a_series_written_by_other_means_is_written_anew(submodule) -> None:
    """Another git's signature, context and numbering are not kept."""
    file = next((submodule.project.patches / "lone").iterdir())
    canonical = file.read_bytes()
    other = canonical.replace(b"[PATCH]", b"[PATCH 1/1]") + b"-- \n2.20.1\n\n"
    file.write_bytes(other)
    submodule.apply()
    submodule.export("lone")
    assert file.read_bytes() == canonical


def test_comments_and_order_of_series_toml_stay(submodule) -> None:
    before = submodule.project.series_file.read_text(encoding="utf-8")
    submodule.switch("perf/lone")
    submodule.commit("Mine", MINE)
    submodule.export()
    after = submodule.project.series_file.read_text(encoding="utf-8")
    listed = re.compile(r"patches = \[[^]]*\]")
    assert listed.findall(after)[:2] == listed.findall(before)[:2]
    assert re.findall(r'"(.+?)"', listed.findall(after)[2]) == [
        "0001-ndere-Gr-en.patch",
        "0002-Mine.patch",
    ]
    assert listed.sub("", after) == listed.sub("", before)


# Nothing of a commit is lost.

MESSAGES = {
    "tag": "[core] Tagged",
    "paragraphs": "First\n\nSecond: größer\n\n- a\n- b\n\nSigned-off-by: Zoë <z@example.org>",
    "long subject": "A subject that goes on and on " * 8 + "to its end, größer",
    "scissors": "Cut\n\nbefore\n-- >8 --\nafter",
    "percent and quotes": "100% \"quoted\" 'so' \\ $HOME `ls` {x}",
    "from": "Quote\n\nFrom the start\n>From another",
    "colon": "fix: Subject: with colons",
    "dashes": "Dashes\n\n--\nnot a signature\n----",
    "utf-8 beyond the plane": "Rocket 🚀\n\n日本語",
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_messages_round_trip(submodule, message) -> None:
    submodule.switch("perf/lone")
    submodule.commit(message, MINE)
    submodule.export()
    submodule.leave()
    assert submodule.apply().same is False
    last = submodule.log("perf/series", "%B")[-1]
    assert last == message.strip()


AUTHORS = [
    ("Zoë Ünlü", "zoe@example.org", "2020-02-29T12:00:00+1245"),
    ("日本 太郎", "taro@example.org", "1999-12-31T23:59:59-1100"),
    ('O"Neil, A. (Ann)', "ann@example.org", "2037-01-01T00:00:00+0000"),
    ("plain", "plain@localhost", "2001-09-09T01:46:40+0000"),
]


@pytest.mark.parametrize(("name", "mail", "date"), AUTHORS)
def test_authors_and_dates_round_trip(submodule, name, mail, date) -> None:
    author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": mail, "GIT_AUTHOR_DATE": date}
    submodule.switch("perf/lone")
    submodule.commit("Mine", MINE, env=author)
    mine = submodule.log("perf/lone", "%an|%ae|%ad")[-1]
    submodule.export()
    submodule.leave()
    submodule.apply()
    assert submodule.log("perf/series", "%an|%ae|%ad")[-1] == mine
    assert mine.startswith(f"{name}|{mail}|")


def test_a_latin_1_commit_becomes_utf_8(submodule) -> None:
    message = submodule.root / "build" / "message"
    message.write_bytes("Größe\n\nMaß.\n".encode("latin-1"))
    submodule.switch("perf/lone")
    (submodule.tree / "metaflow" / "mine.py").write_text("mine = 1\n")
    submodule.git("add", ".")
    encoding = ("-c", "i18n.commitEncoding=ISO-8859-1")
    submodule.git(*encoding, "commit", "--quiet", "--file", str(message))
    assert "encoding ISO-8859-1" in submodule.git("cat-file", "commit", "HEAD")
    submodule.export()
    submodule.leave()
    submodule.apply()
    assert submodule.log("perf/series", "%B")[-1] == "Größe\n\nMaß."


CHANGES = {
    "CRLF lines": {"metaflow/crlf.py": ("third = 3\r\n", "third = 3\r\nfourth = 4\r\n")},
    "to CRLF": {"setup.py": UPSTREAM["setup.py"].replace(b"\n", b"\r\n")},
    "new CRLF file": {"metaflow/new.py": b"a\r\nb\rc\n\r\n"},
    "no last newline": {"setup.py": UPSTREAM["setup.py"].rstrip()},
    "latin-1 content": {"metaflow/latin.py": b"name = 'J\xf6rg \xfc'\n"},
    "new file, name not ASCII": {"metaflow/naïve größe.py": "1\n"},
    "name with a space and brackets": {"metaflow/a [b] c.py": "1\n"},
    "name with a quote": {'metaflow/a"b.py': "1\n"},
    "deleted file": {"setup.py": None},
    "trailing white space": {"metaflow/new.py": "a = 1  \n\t\n\n\n"},
    "lines like a mail": {
        "metaflow/new.py": "From x\n---\n-- \ndiff --git a/b b/b\n--- a\n+++ b\n"
    },
    "rename": {"setup.py": None, "install.py": UPSTREAM["setup.py"] + b"# moved\n"},
    "empty new file": {"metaflow/empty.py": ""},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_changes_round_trip(submodule, changes) -> None:
    submodule.switch("perf/lone")
    submodule.commit("Mine", changes)
    mine = submodule.git("rev-parse", "perf/lone^{tree}")
    submodule.export()
    submodule.git("checkout", "--quiet", "--detach", "1.0")
    submodule.git("branch", "--quiet", "-D", "perf/lone")
    submodule.apply()
    assert submodule.git("rev-parse", "perf/lone^{tree}") == mine
    before = submodule.patches()
    submodule.export("lone", "perf/series")
    assert submodule.patches() == before


def test_a_file_made_executable_round_trips(submodule) -> None:
    submodule.switch("perf/lone")
    (submodule.tree / "setup.py").chmod(0o755)
    submodule.commit("Mine", MINE)
    submodule.export()
    submodule.leave()
    submodule.apply()
    assert submodule.git("ls-tree", "perf/series", "setup.py").startswith("100755 ")


# What cannot become a patch.


def no_change(sandbox: Sandbox) -> None:
    sandbox.git("commit", "--quiet", "--allow-empty", "--message", "Nothing at all")


def merge(sandbox: Sandbox) -> None:
    sandbox.git("merge", "--quiet", "--no-edit", "perf/lone")


def message_with(*lines: str) -> Callable[[Sandbox], None]:
    def change(sandbox: Sandbox) -> None:
        message = sandbox.root / "build" / "message"
        message.write_text("\n".join(("Telling subject", "", *lines, "")), encoding="utf-8")
        (sandbox.tree / "metaflow" / "mine.py").write_text("mine = 1\n")
        sandbox.git("add", ".")
        sandbox.git("commit", "--quiet", "--cleanup=verbatim", "--file", str(message))

    return change


def binary(sandbox: Sandbox) -> None:
    sandbox.commit("Telling subject", {"metaflow/data.bin": bytes(range(256))})


def folder_b(sandbox: Sandbox) -> None:
    sandbox.commit("Telling subject", {"metaflow/part b/x.py": "x = 1\n"})


def mail_tag(sandbox: Sandbox) -> None:
    sandbox.commit("[PATCH] Telling subject", MINE)


def reset(sandbox: Sandbox) -> None:
    sandbox.git("reset", "--quiet", "--hard", "1.0")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (no_change, "'Nothing at all' is empty"),
        (merge, "merge commit"),
        (message_with("before", "---", "after"), "a line '---'"),
        (message_with("before", "diff --git a/x b/x", "after"), "a line 'diff --git a/x b/x'"),
        (message_with("before", "--- a/x", "after"), "a line '--- a/x'"),
        (message_with("before", "@@ -1 +1 @@", "after"), "a line '@@ -1 +1 @@'"),
        (mail_tag, "[PATCH] Telling subject"),
        (message_with("From: Somebody <else@example.org>", "", "more"), "Telling subject"),
        (message_with("trailing  ", "end"), "Telling subject"),
        (binary, "Telling subject"),
        (folder_b, "metaflow/part b/x.py: the name of a folder"),
        (reset, "perf/core has no commits of its own"),
    ],
    ids=[
        "empty",
        "merge",
        "dashes",
        "diff",
        "old file",
        "hunk",
        "mail tag",
        "from",
        "white space",
        "binary",
        "folder that ends in b",
        "empty topic",
    ],
)
def test_what_cannot_become_a_patch_is_refused(submodule, change, named) -> None:
    submodule.switch("perf/core")
    change(submodule)
    before = submodule.state()
    line = submodule.refused("export_patches")
    assert named in line
    assert submodule.state() == before


def test_uncommitted_work_on_the_exported_branch_is_refused(sandbox) -> None:
    sandbox.switch("perf/core")
    sandbox.commit("Mine", MINE)
    (sandbox.tree / "Maß.py").write_bytes(b"1\n")
    before = sandbox.state()
    line = sandbox.refused("export_patches")
    assert "uncommitted changes" in line
    assert sandbox.state() == before
    (sandbox.tree / "Maß.py").unlink()
    sandbox.opens("export_patches")


def test_uncommitted_work_elsewhere_does_not_hinder(submodule) -> None:
    submodule.switch("perf/core")
    submodule.commit("Mine", MINE)
    submodule.switch("perf/lone")
    (submodule.tree / "untracked.py").write_bytes(b"1\n")
    submodule.opens("export_patches", "core")
    assert submodule.subjects("core")[-1] == "Mine"


def test_topics_out_of_order_are_refused(submodule) -> None:
    commits = submodule.log("perf/series", "%H")
    order = (*commits[:1], commits[4], *commits[1:4])
    submodule.rebase("".join(f"pick {one}\n" for one in order), submodule.base, "perf/series")
    before = submodule.state()
    line = submodule.refused("export_patches")
    assert "'[core] Keep step 9 exact' of topic 'core' stands after" in line
    assert "'lone'" in line
    assert submodule.state() == before


def test_a_topic_that_vanished_from_the_integration_branch_is_refused(submodule) -> None:
    submodule.switch("perf/series")
    submodule.git("reset", "--quiet", "--hard", "HEAD~1")
    before = submodule.state()
    assert "no commit of topic 'lone' is left" in submodule.refused("export_patches")
    assert submodule.state() == before


def test_a_branch_that_lost_its_ground_is_refused(submodule) -> None:
    """`fast` rebased onto upstream alone: its patches would need what `core` has."""
    submodule.git("checkout", "--quiet", "-B", "perf/fast", "1.0")
    submodule.commit("Mine", MINE)
    before = submodule.state()
    line = submodule.refused("export_patches")
    assert "does not stand on core" in line
    assert submodule.state() == before


def test_a_name_that_is_not_in_the_series(submodule) -> None:
    line = submodule.refused("export_patches", "fats")
    assert "'fats'" in line
    assert "fast" in line


def test_a_branch_that_is_not_there(make_sandbox) -> None:
    sandbox = make_sandbox("submodule", applied=False)
    assert "run make apply" in sandbox.refused("export_patches", "fast")
    assert "already holds" in sandbox.opens("export_patches")


def test_the_same_topic_edited_in_two_places_is_refused(submodule) -> None:
    submodule.switch("perf/lone")
    submodule.commit("Mine", MINE)
    submodule.switch("perf/series")
    submodule.commit("[x] Other", {"metaflow/other.py": "1\n"})
    before = submodule.state()
    line = submodule.refused("export_patches", "--new-to", "lone")
    assert "topic 'lone' was changed on perf/lone and otherwise on perf/series" in line
    assert submodule.state() == before
    submodule.opens("export_patches", "lone")


def test_the_same_work_on_both_branches_of_a_topic_is_one(sandbox) -> None:
    for branch in ("perf/lone", "perf/series"):
        sandbox.switch(branch)
        sandbox.commit("Mine", MINE)
    sandbox.opens("export_patches", "--new-to", "lone")
    assert sandbox.subjects("lone")[-1] == "Mine"
    sandbox.opens("apply_patches")


def test_one_topic_on_its_branch_and_another_on_the_integration_branch(sandbox) -> None:
    sandbox.switch("perf/core")
    sandbox.commit("Mine", MINE)
    sandbox.switch("perf/series")
    sandbox.commit("Other", {"metaflow/other.py": "1\n"})
    sandbox.opens("export_patches", "--new-to", "lone")
    assert sandbox.subjects("core")[-1] == "Mine"
    assert sandbox.subjects("lone")[-1] == "Other"
    sandbox.leave()
    sandbox.opens("apply_patches")
    assert sandbox.log("perf/series")[-1] == "Other"


def test_a_subject_of_two_topics_tells_neither(submodule) -> None:
    for topic in ("core", "lone"):
        submodule.switch(f"perf/{topic}")
        submodule.commit("Tidy up", {f"metaflow/{topic}.py": "1\n"})
    submodule.export()
    submodule.leave()
    submodule.apply()
    at = submodule.log("perf/series").index("Tidy up")
    commits = submodule.log("perf/series", "%H")
    todo = [f"pick {one}\n" for one in commits]
    todo.insert(
        at + 1, "exec echo 2 > metaflow/core.py && git commit --quiet --all --amend --no-edit\n"
    )
    submodule.rebase("".join(todo), submodule.base, "perf/series")
    submodule.leave()
    submodule.opens("export_patches", "--new-to", "core")
    assert b"+2" in submodule.series().patches["core"][-1].data
    assert submodule.subjects("lone")[-1] == "Tidy up"


def test_a_renamed_file_is_written_as_a_rename(submodule) -> None:
    submodule.switch("perf/lone")
    submodule.git("mv", "metaflow/store.py", "metaflow/shop.py")
    submodule.git("commit", "--quiet", "--message", "Rename")
    # Alone: `core` changes the file, and would not fit afterwards.
    submodule.remove_topic("fast")
    submodule.remove_topic("core")
    submodule.export("lone")
    data = submodule.series().patches["lone"][-1].data
    assert b"rename from metaflow/store.py\nrename to metaflow/shop.py\n" in data


def test_build_on_another_file_system(submodule, tmp_path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=memory) as elsewhere:
        build = submodule.project.build
        shutil.copytree(build, elsewhere, dirs_exist_ok=True)
        shutil.rmtree(build)
        build.symlink_to(elsewhere)
        submodule.switch("perf/core")
        submodule.commit("Mine", MINE)
        submodule.opens("export_patches")
        assert submodule.subjects("core")[-1] == "Mine"


@pytest.mark.parametrize("door", ["apply_patches", "export_patches"])
def test_an_unfinished_rebase_is_refused(sandbox, door) -> None:
    commits = sandbox.log("perf/core", "%H")
    todo = f"edit {commits[0]}\npick {commits[1]}\n"
    sandbox.rebase(todo, sandbox.base, "perf/core")
    assert "a rebase is not finished in" in sandbox.refused(door)
    sandbox.git("rebase", "--continue", env={"GIT_EDITOR": "true"})
    sandbox.opens(door)


def test_two_topics_edited_on_their_branches_are_exported_together(sandbox) -> None:
    sandbox.switch("perf/lone")
    sandbox.commit("Mine", MINE)
    sandbox.switch("perf/core")
    sandbox.commit("Other", {"metaflow/store.py": tuple(reversed(EXACT_STEP_9))})
    sandbox.export()
    assert sandbox.subjects("lone")[-1] == "Mine"
    assert sandbox.subjects("core")[-1] == "Other"
    sandbox.leave()
    sandbox.apply()
    assert sandbox.log("perf/series")[-1] == "Mine"


def test_a_conflict_between_topics_is_found_before_anything_is_written(submodule) -> None:
    """Each fits on the pin alone, but not one after the other."""
    submodule.switch("perf/lone")
    submodule.commit("Mine", {"metaflow/store.py": (FAST_STEP_2[0], "    return value + 2.5\n")})
    before = submodule.state()
    line = submodule.refused("export_patches")
    assert "patches/lone/0002-Mine.patch" in line
    assert submodule.state() == before


def test_exports_at_the_same_time_do_not_undo_each_other(submodule) -> None:
    """The second one waits, and reads the series only then."""
    for topic in ("core", "lone"):
        submodule.switch(f"perf/{topic}")
        submodule.commit(f"More {topic}", {f"metaflow/{topic}.py": "1\n"})
    door = [sys.executable, str(ROOT / "scripts" / "export_patches.py")]
    with submodule.project.exclusive():
        both = [
            subprocess.Popen([*door, topic], cwd=submodule.root, env=clean_environment())
            for topic in ("core", "lone")
        ]
        # Time to run into the lock. If it is too short the test shows less, but fails no less.
        time.sleep(1)
    assert [process.wait() for process in both] == [0, 0]
    assert submodule.subjects("core")[-1] == "More core"
    assert submodule.subjects("lone")[-1] == "More lone"


@pytest.mark.parametrize("branch", ["perf/core", "perf/series"])
def test_a_topic_that_changed_on_both_sides_is_refused(sandbox, branch) -> None:
    """Patches that came by `git pull` after the branches were made are not written over."""
    file = next((sandbox.project.patches / "core").glob("0002-*"))
    pulled = file.read_bytes().replace(b"value + 9.0", b"value + 9.25")
    sandbox.switch(branch)
    sandbox.commit("Mine", MINE)
    sandbox.leave()
    ours = file.read_bytes()
    file.write_bytes(pulled)
    before = sandbox.state()
    for door in ("apply_patches", "export_patches"):
        line = sandbox.refused(door, *(["--new-to", "lone"] if door == "export_patches" else []))
        assert f"patches/core and branch {branch} have both changed" in line
        assert sandbox.state() == before
    file.write_bytes(ours)  # put aside, as the line says
    sandbox.opens("export_patches", "--new-to", "lone")
    sandbox.opens("apply_patches")


def test_exporting_again_without_applying_in_between(sandbox) -> None:
    sandbox.switch("perf/core")
    for name in ("one", "two"):
        sandbox.commit(name, {f"metaflow/{name}.py": "1\n"})
        sandbox.opens("export_patches")
    sandbox.git("commit", "--quiet", "--amend", "--message", "three")
    sandbox.opens("export_patches")
    assert sandbox.subjects("core")[-2:] == ["one", "three"]
    # Back to where apply put it: the patches are ahead, and apply brings the branch there.
    sandbox.git("reset", "--quiet", "--hard", "HEAD~2")
    sandbox.leave()
    sandbox.opens("apply_patches")
    assert sandbox.log("perf/core")[-1] == "three"


@pytest.mark.parametrize("subject", ["日本語の変更", "!!!", "."])
def test_a_subject_that_no_file_name_can_say(sandbox, subject) -> None:
    sandbox.switch("perf/lone")
    sandbox.commit(subject, MINE)
    sandbox.opens("export_patches")
    assert sandbox.subjects("lone")[-1] == subject
    sandbox.opens("apply_patches")
    assert "already holds every commit" in sandbox.opens("export_patches")


def test_a_commit_without_a_message_is_refused(submodule) -> None:
    submodule.switch("perf/lone")
    submodule.commit("", MINE, "--allow-empty-message")
    assert "a commit has no message" in submodule.refused("export_patches")


def test_a_branch_on_a_later_upstream_is_refused(submodule) -> None:
    submodule.switch("perf/lone")
    submodule.git("rebase", "--quiet", "1.1")
    before = submodule.state()
    assert "holds commits of upstream after 1.0" in submodule.refused("export_patches")
    assert submodule.state() == before


def test_commits_on_no_branch_are_not_missed_in_silence(sandbox) -> None:
    sandbox.leave()
    commit = sandbox.commit("Mine", MINE)
    assert f"1 commits on no branch, up to {commit[:12]}" in sandbox.refused("export_patches")


def test_a_new_commit_of_an_only_topic_is_its(submodule) -> None:
    submodule.remove_topic("fast")
    submodule.remove_topic("lone")
    submodule.apply()
    submodule.switch("perf/series")
    submodule.commit("Mine", MINE)
    submodule.opens("export_patches")
    assert submodule.subjects("core")[-1] == "Mine"
